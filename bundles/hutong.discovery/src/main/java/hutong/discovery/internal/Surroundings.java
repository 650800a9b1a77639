// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import hutong.api.AgentConfig;
import hutong.platform.Events;
import hutong.platform.NanoClock;
import hutong.platform.Sockets;
import hutong.xenstore.XenStore;
import java.util.Optional;
import java.util.Set;
import java.util.function.Function;
import java.util.function.IntConsumer;
import java.util.function.LongSupplier;
import java.util.function.Supplier;

/**
 * What a role works with.
 *
 * @param config the agent's configuration
 * @param sockets packet sockets
 * @param events for event loops
 * @param store the XenStore service, or null while there is none
 * @param tally counts and reports
 * @param clock monotonic
 * @param epochSource a number that grows from start to start (wall clock and random bits)
 * @param network looks at an interface by its name
 * @param hypervisor the ids of the domains that live, where there is a hypervisor to tell
 * @param version of this agent
 * @param onReady run once when the role has done its first round
 * @param onNewDomid told once if this VM turns out to be another domain than was configured
 */
record Surroundings(
    AgentConfig config,
    Sockets sockets,
    Events events,
    Supplier<XenStore> store,
    Tally tally,
    NanoClock clock,
    LongSupplier epochSource,
    Function<String, NetworkFacts> network,
    Supplier<Optional<? extends Set<Integer>>> hypervisor,
    String version,
    Runnable onReady,
    IntConsumer onNewDomid) {}
