// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore.internal.client;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.platform.Platform;
import hutong.xenstore.Permission;
import hutong.xenstore.XenStore;
import hutong.xenstore.XenStoreException;
import hutong.xenstore.internal.server.XenStoreServer;
import hutong.xenstore.internal.store.Quotas;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** The client through the real libxenstore.so.4 against the embedded store. */
@Timeout(value = 60, unit = TimeUnit.SECONDS)
class XenStoreClientTest {
  @TempDir private Path directory;
  private XenStoreServer server;
  private XenStoreClient client;

  @BeforeEach
  void start() throws IOException {
    startServer();
    client = new XenStoreClient(directory.resolve("xenstore-1.sock").toString(), Platform.events());
  }

  @AfterEach
  void stop() {
    client.stop();
    server.close();
  }

  private void startServer() throws IOException {
    server = new XenStoreServer(directory, "PC1", Map.of(1, "VM1", 2, "VM2"), Quotas.DEFAULT);
  }

  @Test
  void shouldReadAndWrite() throws XenStoreException {
    client.write("data/a", "valüe");
    client.write("data/empty", "");
    assertThat(client.read("data/a")).contains("valüe");
    assertThat(client.read("data/empty")).contains("");
    assertThat(client.read("data/missing")).isEmpty();
    assertThat(client.list("data")).containsExactly("a", "empty");
    assertThat(client.list("data/missing")).isEmpty();
    client.setPermissions("data/a", List.of(Permission.none(1), Permission.parse("b2")));
    assertThat(client.permissions("data/a"))
        .containsExactly(Permission.none(1), Permission.parse("b2"));
    client.remove("data/a");
    client.remove("data/a");
    assertThat(client.read("data/a")).isEmpty();
    assertThat(client.available()).isTrue();
  }

  @Test
  void shouldSayWhyARequestFails() {
    assertThatThrownBy(() -> client.write("/local/domain/2/data/x", "v"))
        .isInstanceOfSatisfying(
            XenStoreException.class,
            e -> assertThat(e.errno()).isEqualTo(XenStoreException.EACCES));
    assertThatThrownBy(() -> client.list("/"))
        .isInstanceOfSatisfying(
            XenStoreException.class,
            e -> assertThat(e.errno()).isEqualTo(XenStoreException.EACCES));
    assertThat(client.available()).isTrue();
  }

  @Test
  void shouldCommitAndRetryTransactions() throws Exception {
    XenStoreClient other =
        new XenStoreClient(directory.resolve("xenstore-1.sock").toString(), Platform.events());
    try {
      int[] runs = {0};
      client.transaction(
          tx -> {
            runs[0]++;
            Optional<String> seen = tx.read("data/counter");
            if (runs[0] == 1) {
              other.write("data/counter", "7");
            }
            tx.write("data/counter", Integer.toString(seen.map(Integer::parseInt).orElse(0) + 1));
          });
      assertThat(runs[0]).isEqualTo(2);
      assertThat(client.read("data/counter")).contains("8");
      assertThatThrownBy(
              () ->
                  client.transaction(
                      tx -> {
                        tx.write("data/counter", "lost");
                        throw new XenStoreException(5, "on purpose");
                      }))
          .hasMessageContaining("on purpose");
      assertThat(client.read("data/counter")).contains("8");
    } finally {
      other.stop();
    }
  }

  @Test
  void shouldWatchAcrossARestartOfTheStore() throws Exception {
    BlockingQueue<String> events = new LinkedBlockingQueue<>();
    XenStore.Watch watch = client.watch("data", events::add);
    assertThat(events.poll(20, TimeUnit.SECONDS)).isEqualTo("data");
    client.write("data/a", "1");
    assertThat(events.poll(20, TimeUnit.SECONDS)).isEqualTo("data/a");

    server.close();
    assertThatThrownBy(() -> client.read("data/a"))
        .isInstanceOfSatisfying(
            XenStoreException.class,
            e -> assertThat(e.errno()).isEqualTo(XenStoreException.ENOTCONN));
    assertThat(client.available()).isFalse();
    assertThatThrownBy(() -> client.read("data/a")).isInstanceOf(XenStoreException.class);

    startServer();
    assertThat(client.read("data/a")).isEmpty();
    assertThat(client.available()).isTrue();
    assertThat(events.poll(20, TimeUnit.SECONDS))
        .as("fires with each new connection")
        .isEqualTo("data");
    client.write("data/b", "1");
    assertThat(events.poll(20, TimeUnit.SECONDS)).isEqualTo("data/b");

    watch.close();
    client.write("data/c", "1");
    BlockingQueue<String> others = new LinkedBlockingQueue<>();
    client.watch("attr", others::add);
    assertThat(others.poll(20, TimeUnit.SECONDS)).isEqualTo("attr");
    assertThat(events).isEmpty();
  }

  @Test
  void shouldWaitForAStoreThatIsNotThereYet() throws Exception {
    server.close();
    BlockingQueue<String> events = new LinkedBlockingQueue<>();
    client.watch("data", events::add);
    assertThatThrownBy(() -> client.write("data/x", "1")).isInstanceOf(XenStoreException.class);
    startServer();
    client.write("data/x", "1");
    assertThat(events.poll(20, TimeUnit.SECONDS)).isEqualTo("data");
  }

  @Test
  void shouldLeaveNoThreadsBehind() throws Exception {
    client.watch("data", path -> {});
    client.write("data/x", "1");
    client.stop();
    assertThat(Thread.getAllStackTraces().keySet())
        .noneMatch(t -> t.getName().equals("hutong-xenstore"));
    assertThatThrownBy(() -> client.read("data/x")).hasMessageContaining("stopped");
  }
}
