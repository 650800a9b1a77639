// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore.internal.store;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.TreeMap;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;

/**
 * Random requests, some of them in transactions, against a model that is a plain sorted map. A
 * transaction is right if running all of it at the moment of its commit would have given the same
 * answers (serialisability); one that fails must have left no trace, and must have had a reason.
 */
class StoreModelTest {
  private static final int STEPS = 20_000;
  private static final int OPEN_AT_MOST = 4;
  private static final List<String> NAMES = List.of("a", "b", "c");

  private enum Kind {
    READ,
    LIST,
    WRITE,
    MKDIR,
    REMOVE
  }

  private record Operation(Kind kind, String path, String value) {
    static Operation random(Random random) {
      StringBuilder path = new StringBuilder();
      int depth = 1 + random.nextInt(4);
      for (int i = 0; i < depth; i++) {
        path.append('/').append(NAMES.get(random.nextInt(NAMES.size())));
      }
      Kind kind = Kind.values()[random.nextInt(Kind.values().length)];
      return new Operation(kind, path.toString(), Integer.toString(random.nextInt(1000)));
    }

    /** Runs it on the real store; the answer as text, or the name of the error. */
    String on(Store store, Transaction tx) {
      try {
        return switch (kind) {
          case READ -> new String(store.read(0, tx, path), StandardCharsets.US_ASCII);
          case LIST -> new TreeSet<>(store.list(0, tx, path).children()).toString();
          case WRITE -> {
            store.write(0, tx, path, value.getBytes(StandardCharsets.US_ASCII));
            yield "OK";
          }
          case MKDIR -> {
            store.makeDirectory(0, tx, path);
            yield "OK";
          }
          case REMOVE -> {
            store.remove(0, tx, path);
            yield "OK";
          }
        };
      } catch (StoreException e) {
        return e.error().name();
      }
    }

    /** Runs it on the model. */
    String on(TreeMap<String, String> model) {
      boolean exists = model.containsKey(path);
      return switch (kind) {
        case READ -> exists ? model.get(path) : "ENOENT";
        case LIST -> exists ? children(model).toString() : "ENOENT";
        case WRITE -> {
          ancestors(model);
          model.put(path, value);
          yield "OK";
        }
        case MKDIR -> {
          ancestors(model);
          model.putIfAbsent(path, "");
          yield "OK";
        }
        case REMOVE -> {
          model.keySet().removeIf(p -> Paths.within(p, path));
          yield exists || model.containsKey(Paths.parent(path)) ? "OK" : "ENOENT";
        }
      };
    }

    private void ancestors(TreeMap<String, String> model) {
      for (String up = Paths.parent(path); !model.containsKey(up); up = Paths.parent(up)) {
        model.put(up, "");
      }
    }

    private TreeSet<String> children(TreeMap<String, String> model) {
      TreeSet<String> names = new TreeSet<>();
      for (String p : model.keySet()) {
        if (Paths.parent(p).equals(path)) {
          names.add(Paths.name(p));
        }
      }
      return names;
    }
  }

  private static final class Running {
    final Transaction tx;
    final List<Operation> operations = new ArrayList<>();
    final List<String> answers = new ArrayList<>();
    boolean disturbed;

    Running(Transaction tx) {
      this.tx = tx;
    }
  }

  @Test
  void shouldAgreeWithTheModel() throws StoreException {
    long seed = Long.getLong("hutong.seed", System.nanoTime());
    System.out.println("StoreModelTest: repeat with -Dhutong.seed=" + seed);
    Random random = new Random(seed);
    List<String> fired = new ArrayList<>();
    Store store = new Store(Quotas.DEFAULT, (path, exact, seen) -> fired.add(path));
    TreeMap<String, String> model = new TreeMap<>();
    model.put("/", "");
    List<Running> open = new ArrayList<>();
    int committed = 0;
    int conflicts = 0;
    for (int step = 0; step < STEPS; step++) {
      int dice = random.nextInt(100);
      fired.clear();
      if (dice < 40) {
        TreeMap<String, String> before = new TreeMap<>(model);
        Operation operation = Operation.random(random);
        assertThat(operation.on(store, null))
            .as("step %d: %s", step, operation)
            .isEqualTo(operation.on(model));
        if (!before.equals(model)) {
          open.forEach(running -> running.disturbed = true);
          assertThat(fired).as("step %d: %s", step, operation).contains(operation.path);
        } else if (operation.kind != Kind.WRITE) {
          assertThat(fired).as("step %d: %s", step, operation).isEmpty();
        } else {
          // The same value again is a change all the same.
          open.forEach(running -> running.disturbed = true);
        }
      } else if (dice < 50) {
        if (open.size() < OPEN_AT_MOST) {
          open.add(new Running(store.begin(0)));
        }
      } else if (dice < 85 && !open.isEmpty()) {
        Running running = open.get(random.nextInt(open.size()));
        Operation operation = Operation.random(random);
        running.operations.add(operation);
        running.answers.add(operation.on(store, running.tx));
        assertThat(fired).isEmpty();
      } else if (!open.isEmpty()) {
        Running running = open.remove(random.nextInt(open.size()));
        if (dice < 88) {
          store.abort(running.tx);
        } else if (commit(store, running.tx)) {
          committed++;
          for (int i = 0; i < running.operations.size(); i++) {
            Operation operation = running.operations.get(i);
            assertThat(running.answers.get(i))
                .as("step %d: %s", step, operation)
                .isEqualTo(operation.on(model));
          }
          open.forEach(other -> other.disturbed = true);
        } else {
          conflicts++;
          assertThat(running.disturbed).as("step %d: a conflict with nobody", step).isTrue();
          assertThat(fired).isEmpty();
        }
        assertThat(contents(store)).as("step %d", step).isEqualTo(model);
        assertThat(store.ownedBy(0)).as("step %d", step).isEqualTo(model.size());
      }
    }
    assertThat(committed).isGreaterThan(100);
    assertThat(conflicts).isGreaterThan(100);
  }

  private static boolean commit(Store store, Transaction tx) {
    try {
      store.commit(tx);
      return true;
    } catch (StoreException e) {
      assertThat(e.error()).isEqualTo(StoreError.EAGAIN);
      return false;
    }
  }

  private static TreeMap<String, String> contents(Store store) throws StoreException {
    TreeMap<String, String> all = new TreeMap<>();
    collect(store, "/", all);
    return all;
  }

  private static void collect(Store store, String path, TreeMap<String, String> into)
      throws StoreException {
    into.put(path, new String(store.read(0, null, path), StandardCharsets.US_ASCII));
    for (String name : store.list(0, null, path).children()) {
      collect(store, Paths.child(path, name), into);
    }
  }
}
