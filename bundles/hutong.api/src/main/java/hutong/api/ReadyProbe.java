// SPDX-License-Identifier: Apache-2.0
package hutong.api;

/**
 * Marker service: while it is registered, the part of the agent that its service property {@link
 * #NAME} names is up. The launcher writes the {@code ready} file once every part listed in {@code
 * hutong.ready.services} is registered.
 *
 * <p>Use: {@code @Component(service = ReadyProbe.class, property = ReadyProbe.NAME +
 * "=intercept")}, or a registration by hand where "up" comes later than activation.
 */
public interface ReadyProbe {
  /** Service property: the short name of the part, for example {@code intercept}. */
  String NAME = "hutong.ready.name";
}
