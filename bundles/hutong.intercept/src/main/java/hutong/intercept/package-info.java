// SPDX-License-Identifier: Apache-2.0

/** Sessions with the shim, matching, path choice (M1.1, M2, M5.1). */
package hutong.intercept;
