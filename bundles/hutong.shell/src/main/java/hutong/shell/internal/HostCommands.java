// SPDX-License-Identifier: Apache-2.0
package hutong.shell.internal;

import hutong.api.discovery.HostControl;
import org.apache.felix.service.command.Descriptor;
import org.osgi.service.component.annotations.Component;
import org.osgi.service.component.annotations.Reference;
import org.osgi.service.component.annotations.ReferenceCardinality;
import org.osgi.service.component.annotations.ReferencePolicy;
import org.osgi.service.component.annotations.ReferencePolicyOption;

/** The commands {@code hutong:detach} and {@code hutong:attach}: around saving or moving a VM. */
@Component(
    service = HostCommands.class,
    property = {
      "osgi.command.scope=hutong",
      "osgi.command.function=detach",
      "osgi.command.function=attach"
    })
public final class HostCommands {
  private static final int SECONDS = 30;

  @Reference(
      policy = ReferencePolicy.DYNAMIC,
      cardinality = ReferenceCardinality.OPTIONAL,
      policyOption = ReferencePolicyOption.GREEDY)
  volatile HostControl host;

  /** Before a VM is saved. */
  @Descriptor("has a VM of this host let go of all shared memory, before it is saved or moved")
  public String detach(@Descriptor("the VM's name") String vm) {
    try {
      if (host().detach(vm, SECONDS)) {
        return vm + " shares no memory any more";
      }
    } catch (IllegalArgumentException | IllegalStateException e) {
      throw new CommandFailure("detach: " + e.getMessage());
    }
    throw new CommandFailure("detach: " + vm + " has not let go of all within " + SECONDS + " s");
  }

  /** After it was restored. */
  @Descriptor("lets a VM of this host share memory again")
  public String attach(@Descriptor("the VM's name") String vm) {
    try {
      host().attach(vm);
      return vm + " may share memory";
    } catch (IllegalArgumentException | IllegalStateException e) {
      throw new CommandFailure("attach: " + e.getMessage());
    }
  }

  private HostControl host() {
    HostControl now = host;
    if (now == null) {
      throw new CommandFailure("discovery is away: bundle hutong.discovery is not running");
    }
    return now;
  }
}
