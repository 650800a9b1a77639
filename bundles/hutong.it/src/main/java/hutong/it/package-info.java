// SPDX-License-Identifier: Apache-2.0

/** In-framework tests. */
package hutong.it;
