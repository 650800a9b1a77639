// SPDX-License-Identifier: Apache-2.0
/** What the services hand to each other of the operating system's. */
@org.osgi.annotation.bundle.Export
@org.osgi.annotation.versioning.Version("1.0.0")
package hutong.api.os;
