// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore.internal.store;

import hutong.xenstore.Permission;
import java.util.ArrayList;
import java.util.List;

/**
 * One node of the tree; immutable, so that transactions and the tree can share it.
 *
 * @param value the value; the array is never changed
 * @param permissions owner first
 * @param children names of the immediate children, in the order of their creation
 * @param childBytes length of the list of children on the wire
 * @param generation number of the change that made this state; 0 before it is stored
 */
record Node(
    byte[] value,
    List<Permission> permissions,
    List<String> children,
    int childBytes,
    long generation) {
  private static final byte[] EMPTY = new byte[0];

  /** Bytes of a record's fixed part, and of each permission, in Xen's xenstored. */
  private static final int HEADER_BYTES = 24;

  private static final int PERMISSION_BYTES = 8;

  static Node create(List<Permission> permissions) {
    return new Node(EMPTY, permissions, List.of(), 0, 0);
  }

  int owner() {
    return permissions.get(0).domid();
  }

  int recordBytes() {
    return HEADER_BYTES + PERMISSION_BYTES * permissions.size() + childBytes;
  }

  Node withValue(byte[] newValue) {
    return new Node(newValue, permissions, children, childBytes, generation);
  }

  Node withPermissions(List<Permission> newPermissions) {
    return new Node(value, newPermissions, children, childBytes, generation);
  }

  Node withGeneration(long newGeneration) {
    return new Node(value, permissions, children, childBytes, newGeneration);
  }

  Node withChild(String name) {
    List<String> names = new ArrayList<>(children.size() + 1);
    names.addAll(children);
    names.add(name);
    return new Node(
        value, permissions, List.copyOf(names), childBytes + name.length() + 1, generation);
  }

  Node withoutChild(String name) {
    List<String> names = new ArrayList<>(children);
    if (!names.remove(name)) {
      return this;
    }
    return new Node(
        value, permissions, List.copyOf(names), childBytes - name.length() - 1, generation);
  }

  /** What a domain may do; domain 0 and the owner everything. */
  boolean allows(int domid, Access access) {
    if (domid == 0 || domid == owner()) {
      return true;
    }
    Permission entry = permissions.get(0);
    for (int i = 1; i < permissions.size(); i++) {
      if (permissions.get(i).domid() == domid) {
        entry = permissions.get(i);
        break;
      }
    }
    return switch (access) {
      case READ -> entry.read();
      case WRITE -> entry.write();
      case OWN -> false;
    };
  }

  /** Kinds of access. */
  enum Access {
    READ,
    WRITE,
    /** Changing the permissions. */
    OWN
  }
}
