// SPDX-License-Identifier: Apache-2.0
package hutong.api.discovery;

/**
 * What an administrator has a host's agent do before and after a VM is saved or moved. In a VM's
 * agent every call is an {@link IllegalStateException}.
 */
public interface HostControl {
  /**
   * Has a VM take its channels with other VMs of the host back to TCP and let go of their memory;
   * it gets no new ones until {@link #attach}. Waits for its answer.
   *
   * @param vm its name
   * @param seconds how long to wait at most
   * @return whether it has let go of all; if not the request stands
   * @throws IllegalArgumentException if there is no such VM on this host
   * @throws IllegalStateException if the request cannot be written
   */
  boolean detach(String vm, int seconds);

  /**
   * Takes that request back.
   *
   * @param vm its name
   * @throws IllegalArgumentException if there is no such VM on this host
   * @throws IllegalStateException if that cannot be written
   */
  void attach(String vm);
}
