// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore.internal.server;

import hutong.api.AgentConfig;
import hutong.api.ReadyProbe;
import hutong.xenstore.internal.store.Quotas;
import java.io.IOException;
import org.osgi.framework.BundleContext;
import org.osgi.service.component.annotations.Activate;
import org.osgi.service.component.annotations.Component;
import org.osgi.service.component.annotations.Deactivate;

/**
 * Runs the embedded XenStore in the host agent; does nothing in other roles, and nothing when
 * {@code hutong.xenstore.embedded=false} because the host has a real one.
 */
@Component(service = ReadyProbe.class, immediate = true, property = ReadyProbe.NAME + "=xenstore")
public final class EmbeddedStore implements ReadyProbe {
  private final XenStoreServer server;

  /**
   * Starts the store if this is a host agent.
   *
   * @param context gives the configuration
   * @throws IOException if a socket cannot be made
   */
  @Activate
  public EmbeddedStore(BundleContext context) throws IOException {
    AgentConfig config = new AgentConfig(context::getProperty);
    boolean wanted =
        config.role() == AgentConfig.Role.HOST && config.flag("hutong.xenstore.embedded", true);
    server =
        wanted
            ? new XenStoreServer(config.run(), config.name(), config.domains(), Quotas.DEFAULT)
            : null;
  }

  /** Stops the store. */
  @Deactivate
  public void stop() {
    if (server != null) {
      server.close();
    }
  }
}
