// SPDX-License-Identifier: Apache-2.0
/** Tests of the bundles inside a running framework. */
package hutong.it;
