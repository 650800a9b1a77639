// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore.internal.store;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.xenstore.Permission;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class StoreTest {
  private static final int GUEST = 1;
  private static final int OTHER = 2;
  private static final String HOME = "/local/domain/1/data";

  private final List<String> changes = new ArrayList<>();
  private Store store;

  @BeforeEach
  void create() throws StoreException {
    store =
        new Store(
            Quotas.DEFAULT,
            (path, exact, seen) ->
                changes.add(
                    (exact ? "=" : "")
                        + path
                        + (seen.to(GUEST) ? " 1" : "")
                        + (seen.to(OTHER) ? " 2" : "")));
    store.write(0, null, HOME, bytes(""));
    store.setPermissions(0, null, HOME, List.of(Permission.none(GUEST)));
    changes.clear();
  }

  @Test
  void shouldReadWhatWasWritten() throws StoreException {
    store.write(GUEST, null, HOME + "/a/b", bytes("value"));
    assertThat(text(store.read(GUEST, null, HOME + "/a/b"))).isEqualTo("value");
    assertThat(text(store.read(0, null, HOME + "/a/b"))).isEqualTo("value");
    assertThat(store.list(GUEST, null, HOME).children()).containsExactly("a");
    assertThat(store.permissions(GUEST, null, HOME + "/a")).containsExactly(Permission.none(GUEST));
  }

  @Test
  void shouldKeepOthersOut() throws StoreException {
    store.write(GUEST, null, HOME + "/a", bytes("secret"));
    fails(StoreError.EACCES, () -> store.read(OTHER, null, HOME + "/a"));
    fails(StoreError.EACCES, () -> store.list(OTHER, null, HOME));
    fails(StoreError.EACCES, () -> store.list(OTHER, null, "/"));
    fails(StoreError.EACCES, () -> store.list(OTHER, null, "/local/domain"));
    fails(StoreError.EACCES, () -> store.write(OTHER, null, HOME + "/a", bytes("x")));
    fails(StoreError.EACCES, () -> store.write(OTHER, null, HOME + "/new", bytes("x")));
    fails(StoreError.EACCES, () -> store.remove(OTHER, null, HOME + "/a"));
    fails(
        StoreError.EACCES,
        () -> store.setPermissions(OTHER, null, HOME + "/a", List.of(Permission.none(OTHER))));
    fails(StoreError.EACCES, () -> store.write(GUEST, null, "/local/domain/1/mykey", bytes("x")));
    fails(StoreError.EACCES, () -> store.write(GUEST, null, "/foo", bytes("x")));
  }

  @Test
  void shouldNotTellStrangersWhetherANodeExists() {
    fails(StoreError.EACCES, () -> store.read(OTHER, null, HOME + "/missing"));
    fails(StoreError.ENOENT, () -> store.read(GUEST, null, HOME + "/missing"));
  }

  @Test
  void shouldFollowPermissionLetters() throws StoreException {
    store.write(GUEST, null, HOME + "/a", bytes("v"));
    store.setPermissions(
        GUEST, null, HOME + "/a", List.of(Permission.none(GUEST), Permission.readOnly(OTHER)));
    assertThat(text(store.read(OTHER, null, HOME + "/a"))).isEqualTo("v");
    fails(StoreError.EACCES, () -> store.write(OTHER, null, HOME + "/a", bytes("x")));
    store.setPermissions(GUEST, null, HOME + "/a", List.of(Permission.parse("b1")));
    store.write(OTHER, null, HOME + "/a/below", bytes("x"));
    assertThat(store.permissions(0, null, HOME + "/a/below"))
        .containsExactly(Permission.parse("b2"));
    store.setPermissions(
        GUEST, null, HOME + "/a", List.of(Permission.none(GUEST), Permission.parse("w2")));
    fails(StoreError.EACCES, () -> store.read(OTHER, null, HOME + "/a"));
    store.write(OTHER, null, HOME + "/a", bytes("blind"));
    assertThat(text(store.read(GUEST, null, HOME + "/a"))).isEqualTo("blind");
  }

  @Test
  void shouldLetOnlyDomainZeroChangeAnOwner() throws StoreException {
    store.write(GUEST, null, HOME + "/a", bytes("v"));
    fails(
        StoreError.EPERM,
        () -> store.setPermissions(GUEST, null, HOME + "/a", List.of(Permission.none(OTHER))));
    store.setPermissions(0, null, HOME + "/a", List.of(Permission.none(OTHER)));
    assertThat(store.ownedBy(OTHER)).isEqualTo(1);
    fails(StoreError.EACCES, () -> store.read(GUEST, null, HOME + "/a"));
  }

  @Test
  void shouldRemoveSubtreesAndTellDescendantsExactly() throws StoreException {
    store.write(GUEST, null, HOME + "/a/b/c", bytes("v"));
    int before = store.ownedBy(GUEST);
    changes.clear();
    store.remove(GUEST, null, HOME + "/a");
    assertThat(changes)
        .containsExactlyInAnyOrder(HOME + "/a 1", "=" + HOME + "/a/b 1", "=" + HOME + "/a/b/c 1");
    assertThat(store.ownedBy(GUEST)).isEqualTo(before - 3);
    store.remove(GUEST, null, HOME + "/a");
    fails(StoreError.ENOENT, () -> store.remove(GUEST, null, HOME + "/a/b"));
    fails(StoreError.EINVAL, () -> store.remove(0, null, "/"));
  }

  @Test
  void shouldFindConflicts() throws StoreException {
    store.write(GUEST, null, HOME + "/a", bytes("1"));
    Transaction tx = store.begin(GUEST);
    assertThat(text(store.read(GUEST, tx, HOME + "/a"))).isEqualTo("1");
    store.write(GUEST, tx, HOME + "/b", bytes("x"));
    store.write(0, null, HOME + "/a", bytes("2"));
    changes.clear();
    fails(StoreError.EAGAIN, () -> store.commit(tx));
    fails(StoreError.ENOENT, () -> store.read(GUEST, null, HOME + "/b"));
    assertThat(changes).isEmpty();
  }

  @Test
  void shouldFindThatANodeAppearedOrVanished() throws StoreException {
    Transaction tx = store.begin(GUEST);
    fails(StoreError.ENOENT, () -> store.read(GUEST, tx, HOME + "/a"));
    store.write(0, null, HOME + "/a", bytes("2"));
    fails(StoreError.EAGAIN, () -> store.commit(tx));
    Transaction second = store.begin(0);
    store.read(0, second, HOME + "/a");
    store.remove(0, null, HOME + "/a");
    fails(StoreError.EAGAIN, () -> store.commit(second));
  }

  @Test
  void shouldNotConflictOverOtherNodes() throws StoreException {
    store.write(GUEST, null, HOME + "/a", bytes("1"));
    Transaction tx = store.begin(GUEST);
    store.write(GUEST, tx, HOME + "/a", bytes("2"));
    store.write(0, null, "/tool/x", bytes("2"));
    assertThat(text(store.read(GUEST, null, HOME + "/a"))).isEqualTo("1");
    changes.clear();
    store.commit(tx);
    assertThat(text(store.read(GUEST, null, HOME + "/a"))).isEqualTo("2");
    assertThat(changes).containsExactly(HOME + "/a 1");
  }

  @Test
  void shouldStopAGuestAtItsQuotas() throws StoreException {
    fails(StoreError.ENOSPC, () -> store.write(GUEST, null, HOME + "/big", new byte[2049]));
    store.write(GUEST, null, HOME + "/big", new byte[2048]);
    store.remove(GUEST, null, HOME + "/big");
    int created = 0;
    try {
      for (; created < 2000; created++) {
        store.write(GUEST, null, HOME + "/k" + created, bytes("x"));
      }
    } catch (StoreException e) {
      assertThat(e.error()).isEqualTo(StoreError.ENOSPC);
    }
    assertThat(created).isBetween(380, 460);
    for (int i = 0; i < 2000 && store.ownedBy(GUEST) < 1000; i++) {
      store.write(GUEST, null, HOME + "/k" + i % 100 + "/x" + i, bytes("x"));
    }
    fails(StoreError.ENOSPC, () -> store.write(GUEST, null, HOME + "/k0/last", bytes("x")));
    store.write(0, null, HOME + "/k0/last", bytes("dom0 has no quota"));
    fails(
        StoreError.ENOSPC,
        () ->
            store.setPermissions(
                GUEST,
                null,
                HOME,
                new ArrayList<>(
                    List.of(
                        Permission.none(1),
                        Permission.none(2),
                        Permission.none(3),
                        Permission.none(4),
                        Permission.none(5),
                        Permission.none(6)))));
  }

  @Test
  void shouldBoundTransactions() throws StoreException {
    List<Transaction> open = new ArrayList<>();
    for (int i = 0; i < 10; i++) {
      open.add(store.begin(GUEST));
    }
    fails(StoreError.ENOSPC, () -> store.begin(GUEST));
    store.abort(open.remove(0));
    Transaction tx = store.begin(GUEST);
    fails(
        StoreError.ENOSPC,
        () -> {
          for (int i = 0; i < 5000; i++) {
            store.write(GUEST, tx, HOME + "/same", new byte[2000]);
          }
        });
    store.abort(tx);
    Transaction after = store.begin(GUEST);
    store.write(GUEST, after, HOME + "/same", new byte[2000]);
    store.commit(after);
  }

  @Test
  void shouldNotExceedTheNodeQuotaThroughTransactions() throws StoreException {
    for (int round = 0; round < 9; round++) {
      for (int i = 0; i < 110; i++) {
        store.write(GUEST, null, HOME + "/d" + round + "/" + i, bytes(""));
      }
    }
    Transaction tx = store.begin(GUEST);
    for (int i = 0; i < 50; i++) {
      store.write(GUEST, tx, HOME + "/t/" + i, bytes(""));
    }
    fails(StoreError.ENOSPC, () -> store.commit(tx));
    fails(StoreError.ENOENT, () -> store.list(GUEST, null, HOME + "/t"));
  }

  @Test
  void shouldCheckPaths() {
    for (String bad :
        List.of("", "a", "/a/", "//", "/a//b", "/a b", "/a:b", "/ä", "/" + "x".repeat(3072))) {
      assertThat(Paths.valid(bad)).as(bad).isFalse();
    }
    for (String good : List.of("/", "/a", "/a/b-c_d@e", "/local/domain/12/" + "x".repeat(2048))) {
      assertThat(Paths.valid(good)).as(good).isTrue();
    }
    assertThat(Paths.valid("/local/domain/x/" + "x".repeat(2048))).isFalse();
  }

  private static void fails(StoreError error, ThrowingCallable call) {
    assertThatThrownBy(call).isInstanceOf(StoreException.class).hasMessage(error.name());
  }

  private static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  private static String text(byte[] bytes) {
    return new String(bytes, StandardCharsets.UTF_8);
  }
}
