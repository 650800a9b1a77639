// SPDX-License-Identifier: Apache-2.0

/** Agent links through the host agent. */
package hutong.link;
