// SPDX-License-Identifier: Apache-2.0
/** Intercepted connections, and why they are on which path. */
@org.osgi.annotation.bundle.Export
@org.osgi.annotation.versioning.Version("2.0.0")
package hutong.api.intercept;
