// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore.internal.store;

/** A request that is answered with an error. Carries no stack trace: guests cause it at will. */
public final class StoreException extends Exception {
  private static final long serialVersionUID = 1L;

  private final StoreError error;

  /**
   * Creates the exception.
   *
   * @param error the answer
   */
  public StoreException(StoreError error) {
    super(error.name(), null, false, false);
    this.error = error;
  }

  /**
   * Returns the answer to the client.
   *
   * @return the error
   */
  public StoreError error() {
    return error;
  }
}
