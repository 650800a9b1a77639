// SPDX-License-Identifier: Apache-2.0
/**
 * The layouts that programs and agents share, as byte offsets: {@code include/hutong_abi.h} in
 * Java. A unit test compares every number with what the C compiler says. All integers are in the
 * byte order of the host.
 */
@org.osgi.annotation.bundle.Export
@org.osgi.annotation.versioning.Version("1.0.0")
package hutong.platform.abi;
