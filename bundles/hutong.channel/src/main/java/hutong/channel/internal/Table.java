// SPDX-License-Identifier: Apache-2.0
package hutong.channel.internal;

import hutong.api.channel.Channel;
import hutong.api.channel.ChannelInfo;
import hutong.api.channel.ChannelTable;
import hutong.api.channel.ChannelUse;
import hutong.api.channel.Segments;
import hutong.api.channel.Usage;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.IntFunction;
import java.util.function.IntSupplier;

/** The channel table: numbers, quotas, and the list for display. Thread-safe. */
public final class Table implements ChannelTable {
  private static final int INDEXES = 1 << 16;
  private static final int LOW = 0xffff;

  /**
   * What a VM may use.
   *
   * @param bytes nominal bytes of all segments
   * @param channels number of channels with a segment
   * @param peer number of those that one other VM may share
   */
  public record Quota(long bytes, int channels, int peer) {
    private Quota half() {
      return new Quota(bytes - bytes / 2, channels - channels / 2, peer);
    }
  }

  /** What somebody uses now. */
  private static final class Use {
    private int numbers;
    private int channels;
    private long bytes;

    private boolean fits(long more, Quota quota) {
      return channels < quota.channels && bytes + more <= quota.bytes;
    }
  }

  private final Quota quota;
  private final IntSupplier random;
  private final Map<Integer, Entry> byIndex = new HashMap<>();
  private final Map<Integer, Use> byUser = new HashMap<>();

  /** Channels with a segment, by the domain that shares it. */
  private final Map<Integer, Integer> byPeer = new HashMap<>();

  private final Use total = new Use();
  private int nextIndex;

  /**
   * An empty table.
   *
   * @param quota the VM's
   * @param random gives 32 random bits for generations
   */
  public Table(Quota quota, IntSupplier random) {
    this.quota = quota;
    this.random = random;
  }

  @Override
  public synchronized Optional<Channel> reserve(int uid, int peerVm) {
    Use user = byUser.get(uid);
    if ((user != null && user.numbers >= INDEXES / 2) || byIndex.size() >= INDEXES - 1) {
      return Optional.empty();
    }
    do {
      // Index 0 stays unused: number 0 means "none".  Round robin, so that an index rests before it
      // comes again.
      nextIndex = nextIndex % (INDEXES - 1) + 1;
    } while (byIndex.containsKey(nextIndex));
    return Optional.of(enter(nextIndex | random.getAsInt() << 16, uid, peerVm));
  }

  @Override
  public synchronized Optional<Channel> adopt(int number, int uid, int ringSize, int overSize) {
    int index = number & LOW;
    if (index == 0 || byIndex.containsKey(index)) {
      return Optional.empty();
    }
    Entry entry = enter(number, uid, 0);
    entry.state = Channel.State.OPEN;
    entry.add(ringSize, overSize);
    return Optional.of(entry);
  }

  private Entry enter(int number, int uid, int peerVm) {
    Entry entry = new Entry(number, uid, peerVm);
    byIndex.put(number & LOW, entry);
    byUser.computeIfAbsent(uid, u -> new Use()).numbers++;
    return entry;
  }

  @Override
  public synchronized Usage usage() {
    return new Usage(total.channels, quota.channels, total.bytes, quota.bytes);
  }

  /** Channels in use now. */
  public synchronized int size() {
    return byIndex.size();
  }

  /** Nominal bytes charged now. */
  public synchronized long bytes() {
    return total.bytes;
  }

  /**
   * The table for display, sorted by number.
   *
   * @param peerName gives the name of a co-resident VM
   */
  public List<ChannelInfo> list(IntFunction<String> peerName) {
    List<Entry> entries;
    synchronized (this) {
      entries = new ArrayList<>(byIndex.values());
    }
    entries.sort(Comparator.comparing((Entry e) -> e.number & LOW));
    List<ChannelInfo> out = new ArrayList<>(entries.size());
    for (Entry entry : entries) {
      // Outside the lock: it reads the programs' pages.
      out.add(entry.info(peerName));
    }
    return out;
  }

  /** One entry; its fields are guarded by the table. */
  private final class Entry implements Channel {
    private final int number;
    private final int uid;
    private int peerVm;
    private State state = State.PENDING;
    private int peerNumber;
    private long peerMac;
    private int ringSize;
    private int overSize;
    private boolean charged;
    private boolean released;
    private ChannelUse use = ChannelUse.NONE;

    private Entry(int number, int uid, int peerVm) {
      this.number = number;
      this.uid = uid;
      this.peerVm = peerVm;
    }

    @Override
    public int number() {
      return number;
    }

    @Override
    public State state() {
      synchronized (Table.this) {
        return state;
      }
    }

    @Override
    public void state(State newState) {
      synchronized (Table.this) {
        state = newState;
      }
    }

    @Override
    public int peerVm() {
      synchronized (Table.this) {
        return peerVm;
      }
    }

    @Override
    public void peerVm(int domid) {
      synchronized (Table.this) {
        countPeer(charged ? -1 : 0);
        peerVm = domid;
        countPeer(charged ? 1 : 0);
      }
    }

    /** A segment that no other VM shares is none's. */
    private void countPeer(int change) {
      if (peerVm != 0 && change != 0) {
        byPeer.merge(peerVm, change, (was, more) -> was + more == 0 ? null : was + more);
      }
    }

    @Override
    public int peerNumber() {
      synchronized (Table.this) {
        return peerNumber;
      }
    }

    @Override
    public void peer(int newNumber, long mac) {
      synchronized (Table.this) {
        peerNumber = newNumber;
        peerMac = mac;
      }
    }

    @Override
    public boolean charge(int ring, int over) {
      synchronized (Table.this) {
        long more = Segments.bytes(ring, over);
        if (charged || released) {
          return charged;
        }
        if (!total.fits(more, quota)
            || !byUser.get(uid).fits(more, quota.half())
            || (peerVm != 0 && byPeer.getOrDefault(peerVm, 0) >= quota.peer)) {
          return false;
        }
        add(ring, over);
        return true;
      }
    }

    private void add(int ring, int over) {
      ringSize = ring;
      overSize = over;
      charged = true;
      count(total, 1);
      count(byUser.get(uid), 1);
      countPeer(1);
    }

    private void count(Use usage, int sign) {
      usage.channels += sign;
      usage.bytes += sign * Segments.bytes(ringSize, overSize);
    }

    @Override
    public void refund() {
      synchronized (Table.this) {
        if (charged) {
          charged = false;
          count(total, -1);
          count(byUser.get(uid), -1);
          countPeer(-1);
          ringSize = 0;
          overSize = 0;
        }
      }
    }

    @Override
    public void use(ChannelUse newUse) {
      synchronized (Table.this) {
        use = newUse;
      }
    }

    @Override
    public void release() {
      synchronized (Table.this) {
        if (released) {
          return;
        }
        refund();
        released = true;
        byIndex.remove(number & LOW);
        Use user = byUser.get(uid);
        if (--user.numbers == 0) {
          byUser.remove(uid);
        }
      }
    }

    private ChannelInfo info(IntFunction<String> peerName) {
      ChannelUse who;
      int vm;
      synchronized (Table.this) {
        who = use;
        vm = peerVm;
      }
      long in = who.bytesIn();
      long out = who.bytesOut();
      List<Integer> pids = who.pids();
      String name = peerName.apply(vm);
      synchronized (Table.this) {
        return new ChannelInfo(
            number,
            vm,
            name,
            mac(peerMac),
            peerNumber,
            state.name(),
            ringSize,
            overSize,
            in,
            out,
            pids);
      }
    }
  }

  private static String mac(long bits) {
    StringBuilder out = new StringBuilder();
    for (int shift = 40; shift >= 0; shift -= 8) {
      out.append(String.format("%02x", bits >>> shift & 0xff)).append(shift > 0 ? ":" : "");
    }
    return out.toString();
  }
}
