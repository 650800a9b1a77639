// SPDX-License-Identifier: Apache-2.0
/** What concerns every bundle: the agent's configuration and the start-up signal. */
@org.osgi.annotation.bundle.Export
@org.osgi.annotation.versioning.Version("1.0.0")
package hutong.api;
