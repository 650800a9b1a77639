// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore.internal.client;

import hutong.xenstore.Permission;
import hutong.xenstore.XenStore;
import hutong.xenstore.XenStoreException;
import java.util.List;
import java.util.Optional;
import java.util.function.Consumer;

/** The store inside a transaction; used by the thread that holds the client's lock. */
record TransactionView(XenStore client, RequestHandle handle, int tx) implements XenStore {
  @Override
  public boolean available() {
    return client.available();
  }

  @Override
  public Optional<String> read(String path) throws XenStoreException {
    return handle.read(tx, path);
  }

  @Override
  public List<String> list(String path) throws XenStoreException {
    return handle.list(tx, path);
  }

  @Override
  public void write(String path, String value) throws XenStoreException {
    handle.write(tx, path, value);
  }

  @Override
  public void remove(String path) throws XenStoreException {
    handle.remove(tx, path);
  }

  @Override
  public List<Permission> permissions(String path) throws XenStoreException {
    return handle.permissions(tx, path);
  }

  @Override
  public void setPermissions(String path, List<Permission> permissions) throws XenStoreException {
    handle.setPermissions(tx, path, permissions);
  }

  @Override
  public void transaction(Work work) {
    throw new IllegalStateException("a transaction inside a transaction");
  }

  @Override
  public Watch watch(String path, Consumer<String> listener) {
    throw new IllegalStateException("a watch inside a transaction");
  }
}
