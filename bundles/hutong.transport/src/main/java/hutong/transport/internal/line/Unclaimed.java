// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.api.link.PeerId;
import hutong.api.transport.LineSpec;
import java.util.ArrayList;
import java.util.List;
import java.util.function.BiConsumer;
import java.util.function.IntPredicate;

/**
 * Lines that nobody speaks for: pages of programs that are gone, whose peers are to be told, and
 * lines that a peer speaks of and that are not known here, or not yet. One thread.
 */
final class Unclaimed {
  private static final int MOST_UNKNOWN = 4096;

  /** What a peer said of a line that is not known here yet. */
  private record Unknown(PeerId from, LineMessage message) {}

  private final Pages pages;
  private final PeerMessages messages;
  private final IntPredicate carried;
  private final BiConsumer<PeerId, LineMessage> lastWord;
  private final List<LineSpec> orphans = new ArrayList<>();
  private final List<Unknown> unknown = new ArrayList<>();
  private boolean ownersKnown;

  /**
   * Nothing yet.
   *
   * @param carried whether the line of that number is carried here
   * @param lastWord takes what a peer has said of a line that is carried since, its last word
   */
  Unclaimed(
      Pages pages,
      PeerMessages messages,
      IntPredicate carried,
      BiConsumer<PeerId, LineMessage> lastWord) {
    this.pages = pages;
    this.messages = messages;
    this.carried = carried;
    this.lastWord = lastWord;
  }

  /** Whether all that had an owner has been claimed: what is left belongs to nobody. */
  boolean ownersKnown() {
    return ownersKnown;
  }

  /** All owners have spoken. */
  void settle() {
    for (int number : pages.numbers()) {
      Pages.Page page = pages.load(number, NoProgram.HERE);
      if (page != null && !carried.test(number)) {
        orphans.add(page.spec());
      } else if (page == null) {
        pages.remove(number);
      }
    }
    orphans.forEach(spec -> messages.want(spec.peer()));
    bury();
    ownersKnown = true;
    unknown.forEach(this::settle);
    unknown.clear();
  }

  /** What was said before its line was resumed the peer will say again, but for its last word. */
  private void settle(Unknown said) {
    if (said.message.bye() && carried.test(said.message.peerNumber())) {
      lastWord.accept(said.from, said.message);
    } else {
      answer(said.from, said.message);
    }
  }

  /** Tells the peers of such lines, as far as they can be reached now. */
  void bury() {
    for (LineSpec spec : List.copyOf(orphans)) {
      int number = spec.number();
      if (carried.test(number)
          || messages.farewell(spec.peer(), LineMessage.goodbye(number, spec.peerNumber()))) {
        orphans.remove(spec);
        if (!carried.test(number)) {
          pages.remove(number);
        }
      }
    }
  }

  /** A peer is gone. Should it come back and speak of such lines, it is told then. */
  void forget(PeerId peer) {
    for (LineSpec spec : List.copyOf(orphans)) {
      if (spec.peer().equals(peer)) {
        orphans.remove(spec);
        pages.remove(spec.number());
      }
    }
  }

  /** A peer speaks of a line that is not known here. It may be resumed in a moment. */
  void onUnknown(PeerId from, LineMessage message) {
    if (ownersKnown) {
      answer(from, message);
    } else if (unknown.size() < MOST_UNKNOWN) {
      unknown.add(new Unknown(from, message));
    }
  }

  private void answer(PeerId from, LineMessage message) {
    if (message.answerable() && !carried.test(message.peerNumber())) {
      messages.farewell(from, LineMessage.goodbye(message.peerNumber(), message.number()));
    }
  }
}
