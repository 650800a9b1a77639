// SPDX-License-Identifier: Apache-2.0
/**
 * Publish, scan, broadcast and membership (M1.4, M4); all of it is behind the services of
 * hutong.api.discovery.
 */
package hutong.discovery;
