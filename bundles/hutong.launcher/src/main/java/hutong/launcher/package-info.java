// SPDX-License-Identifier: Apache-2.0
/** The agent's main program: starts the OSGi framework over a directory of bundles. */
package hutong.launcher;
