// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.channel.Usage;
import hutong.api.discovery.Member;
import hutong.api.intercept.CheckInfo;
import hutong.api.intercept.CheckInfo.Step;
import hutong.api.intercept.Reason;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermission;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Says whether a connection from this VM would leave TCP now. One use, one thread. */
final class Check {
  /** What is looked at. */
  interface World {
    LivePolicy.State policy();

    MemberView members();

    /** Whether the way to the host agent is there. */
    boolean linked();

    /** How far the acquaintance with another VM's agent goes. */
    Peer.State peer(int domid);

    /** Whether connections to other hosts may leave TCP. */
    boolean far();

    /** Whether the route to an address leaves by a tunnel. */
    boolean tunnelled(Address address);

    Usage usage();

    /** Bytes of one segment. */
    long segment();

    /** Where programs find the shim; null if that is not known. */
    Path shim();
  }

  private final World world;
  private final String target;
  private final List<Step> steps = new ArrayList<>();

  Check(World world, String target) {
    this.world = world;
    this.target = target;
  }

  /** See {@link hutong.api.intercept.Diagnosis#check}. */
  CheckInfo run() {
    MemberView members = world.members();
    List<Address> addresses = new ArrayList<>();
    Member member = find(members, addresses);
    boolean on = world.policy().enabled();
    step("switch", on, Reason.OFF, on ? "the agent is on" : "the agent is off: hutong:on");
    member(members, member);
    if (member != null && !member.self()) {
      boolean near = member.coResident();
      boolean far = !near && world.far();
      step(
          "host",
          near || far,
          Reason.INTER_HOST,
          near
              ? "on this host"
              : "on another host, "
                  + member.hostId()
                  + (far ? ": bulk goes by the light protocol where it pays" : ""));
      version(members, member);
      if (near) {
        link(member);
      } else if (far) {
        boolean keyed = !member.key().isEmpty();
        step(
            "link",
            keyed,
            Reason.PEER_AGENT,
            keyed ? "its agent is linked when it is needed" : "its agent has no key in the list");
      }
      policy(addresses);
      route(addresses);
    }
    quota();
    shim();
    Step bad = steps.stream().filter(s -> !s.good()).findFirst().orElse(null);
    return new CheckInfo(
        target,
        member == null ? null : member.name(),
        bad == null,
        bad == null ? Reason.NONE : bad.reason(),
        bad == null
            ? "A connection to " + target + " would be accelerated" + condition(addresses) + "."
            : "A connection to %s would stay on TCP, reason %d: %s."
                .formatted(target, bad.reason().number(), bad.text()),
        steps);
  }

  private void step(String name, boolean good, Reason reason, String text) {
    steps.add(new Step(name, good, good ? Reason.NONE : reason, text));
  }

  /** The member that is meant, by address or name, and the addresses that are. */
  private Member find(MemberView members, List<Address> addresses) {
    try {
      Address address = Address.parse(target);
      addresses.add(address);
      return members.get(address);
    } catch (IllegalArgumentException e) {
      Member found = null;
      for (Map.Entry<Address, Member> entry : members.all().entrySet()) {
        if (entry.getValue().name().equalsIgnoreCase(target)) {
          found = entry.getValue();
          addresses.add(entry.getKey());
        }
      }
      return found;
    }
  }

  private void member(MemberView members, Member member) {
    boolean listed = members.all().values().stream().anyMatch(Member::self);
    if (!listed) {
      step(
          "member", false, Reason.NOT_OWNER, "this VM itself is not listed: is the host agent up?");
    } else if (member == null) {
      step("member", false, Reason.NOT_MEMBER, "no VM of the cluster has that name or address");
    } else if (member.self()) {
      step("member", false, Reason.SAME_VM, "that is this VM itself");
    } else {
      step("member", true, Reason.NONE, member.name() + " is a member");
    }
  }

  private void version(MemberView members, Member member) {
    String own = "?";
    for (Member other : members.all().values()) {
      own = other.self() ? other.version() : own;
    }
    boolean same = own.equals(member.version());
    step(
        "version",
        same,
        Reason.VERSION,
        same ? "both are " + own : "it is " + member.version() + ", this VM is " + own);
  }

  private void link(Member member) {
    if (!world.linked()) {
      step("link", false, Reason.PEER_AGENT, "there is no link to the host agent");
      return;
    }
    switch (world.peer(member.domid())) {
      case UP -> step("link", true, Reason.NONE, "its agent answers");
      case INCOMPATIBLE -> step("link", false, Reason.VERSION, "its agent speaks another version");
      default -> step("link", false, Reason.PEER_AGENT, "its agent does not answer");
    }
  }

  private void policy(List<Address> addresses) {
    String text = "no rule is against it";
    for (Address address : addresses) {
      Policy.Decision decision = world.policy().policy().decide(Subject.to(address));
      if (decision.denied()) {
        step("policy", false, Reason.POLICY, "it forbids " + address + ": " + decision.why());
        return;
      }
      if (decision.outcome() == Policy.Outcome.DEPENDS) {
        text = "depends on program, user or port: " + decision.why();
      }
    }
    step("policy", true, Reason.NONE, text);
  }

  private String condition(List<Address> addresses) {
    for (Address address : addresses) {
      Policy.Decision decision = world.policy().policy().decide(Subject.to(address));
      if (decision.outcome() == Policy.Outcome.DEPENDS) {
        return ", depending on program, user and port (" + decision.why() + ")";
      }
    }
    return "";
  }

  private void route(List<Address> addresses) {
    for (Address address : addresses) {
      if (world.tunnelled(address)) {
        step(
            "route",
            false,
            Reason.TUNNEL,
            "to " + address + " there is no route, a tunnel or an XFRM policy");
        return;
      }
    }
    step("route", true, Reason.NONE, "no tunnel and no XFRM policy");
  }

  private void quota() {
    Usage usage = world.usage();
    step(
        "quota",
        usage.fits(world.segment()),
        Reason.QUOTA,
        "%d of %d channels and %d of %d MiB are used, half of it for one user"
            .formatted(
                usage.channels(),
                usage.maxChannels(),
                usage.bytes() >> 20,
                usage.maxBytes() >> 20));
  }

  private void shim() {
    Path shim = world.shim();
    if (shim == null) {
      step("shim", true, Reason.NONE, "hutong.shim does not say where it is");
      return;
    }
    boolean good = false;
    try {
      good =
          Files.isRegularFile(shim)
              && Files.getPosixFilePermissions(shim).contains(PosixFilePermission.OTHERS_READ);
    } catch (IOException e) {
      // not good
    }
    step(
        "shim",
        good,
        Reason.NOT_INTERCEPTED,
        shim + (good ? " is there" : " is not there, or not for everybody"));
  }
}
