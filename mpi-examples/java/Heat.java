/* SPDX-License-Identifier: Apache-2.0 */

import java.nio.DoubleBuffer;
import java.util.Arrays;
import mpi.Intracomm;
import mpi.MPI;
import mpi.MPIException;
import mpi.Request;

/**
 * Heat in a square plate on Open MPI's Java bindings: Jacobi iterations on an N x N grid, rows dealt out to the ranks,
 * one halo row exchanged with each neighbour in every step, the largest change agreed now and then. Rank 0 repeats the
 * work alone and compares bit by bit; the checksum is the one that heat.c prints for the same arguments. Usage: Heat [N
 * [STEPS]]
 *
 * <p>Lines that start with "# time" hold measurements; all others are the same in every run.
 */
public final class Heat {
  private static final int CHECK = 50;

  private final int first;
  private final int count;
  private final int n;
  private double[] from;
  private double[] to;

  private Heat(int first, int count, int n) {
    this.first = first;
    this.count = count;
    this.n = n;
    this.from = initial();
    this.to = initial();
  }

  /** Runs the solver; exits with 1 when the serial run differs. */
  public static void main(String[] args) throws MPIException {
    String[] rest = MPI.Init(args);
    Intracomm world = MPI.COMM_WORLD;
    int rank = world.getRank();
    int ranks = world.getSize();
    int n = rest.length > 0 ? Integer.parseInt(rest[0]) : 256;
    int steps = rest.length > 1 ? Integer.parseInt(rest[1]) : 2000;
    if (n < 3 || n > 8192 || steps < 1 || ranks > n) {
      System.err.println("Heat: usage: Heat [N [STEPS]], N from 3 (and the number of ranks) to 8192");
      world.abort(1);
    }
    int[] counts = new int[ranks];
    int[] offsets = new int[ranks];
    for (int r = 0, row = 0; r < ranks; r++) {
      int rows = n / ranks + (r < n % ranks ? 1 : 0);
      counts[r] = rows * n;
      offsets[r] = row * n;
      row += rows;
    }

    Heat mine = new Heat(offsets[rank] / n, counts[rank] / n, n);
    world.barrier();
    long start = System.nanoTime();
    double change = mine.solve(world, steps);
    double seconds = (System.nanoTime() - start) / 1e9;

    boolean equal = true;
    if (rank == 0) {
      double[] plate = new double[n * n];
      System.arraycopy(mine.rows(), 0, plate, 0, counts[0]);
      for (int r = 1; r < ranks; r++) {
        double[] part = new double[counts[r]];
        world.recv(part, counts[r], MPI.DOUBLE, r, 3);
        System.arraycopy(part, 0, plate, offsets[r], counts[r]);
      }
      Heat serial = new Heat(0, n, n);
      double serialChange = serial.solve(MPI.COMM_SELF, steps);
      equal = Arrays.equals(plate, serial.rows()) && change == serialChange;
      System.out.printf(
          "heat n=%d steps=%d change=%s checksum=%016x serial=%s%n",
          n, steps, change, checksum(plate), equal ? "equal" : "DIFFERENT");
      System.out.printf("# time seconds=%.4f ranks=%d%n", seconds, ranks);
    } else {
      world.send(mine.rows(), counts[rank], MPI.DOUBLE, 0, 3);
    }
    MPI.Finalize();
    if (!equal) {
      System.exit(1);
    }
  }

  /** All steps on this rank's rows; returns the last agreed change. */
  private double solve(Intracomm comm, int steps) throws MPIException {
    int rank = comm.getRank();
    int above = rank > 0 ? rank - 1 : MPI.PROC_NULL;
    int below = rank < comm.getSize() - 1 ? rank + 1 : MPI.PROC_NULL;
    DoubleBuffer sendUp = MPI.newDoubleBuffer(n);
    DoubleBuffer sendDown = MPI.newDoubleBuffer(n);
    DoubleBuffer haloUp = MPI.newDoubleBuffer(n);
    DoubleBuffer haloDown = MPI.newDoubleBuffer(n);
    DoubleBuffer changes = MPI.newDoubleBuffer(2);
    for (int s = 1; s <= steps; s++) {
      sendUp.put(0, from, n, n);
      sendDown.put(0, from, count * n, n);
      Request.waitAll(
          new Request[] {
            comm.iRecv(haloUp, n, MPI.DOUBLE, above, 1),
            comm.iRecv(haloDown, n, MPI.DOUBLE, below, 2),
            comm.iSend(sendUp, n, MPI.DOUBLE, above, 2),
            comm.iSend(sendDown, n, MPI.DOUBLE, below, 1)
          });
      if (above != MPI.PROC_NULL) {
        haloUp.get(0, from, 0, n);
      }
      if (below != MPI.PROC_NULL) {
        haloDown.get(0, from, (count + 1) * n, n);
      }
      double largest = step();
      if (s % CHECK == 0 || s == steps) {
        changes.put(0, largest);
        comm.allReduce(changes.slice(0, 1), changes.slice(1, 1), 1, MPI.DOUBLE, MPI.MAX);
      }
      double[] swap = from;
      from = to;
      to = swap;
    }
    return changes.get(1);
  }

  private double step() {
    double largest = 0.0;
    for (int r = 1; r <= count; r++) {
      int row = r * n;
      if (first + r - 1 == 0 || first + r - 1 == n - 1) {
        System.arraycopy(from, row, to, row, n);
        continue;
      }
      to[row] = from[row];
      to[row + n - 1] = from[row + n - 1];
      for (int c = row + 1; c < row + n - 1; c++) {
        to[c] = 0.25 * ((from[c - n] + from[c + n]) + (from[c - 1] + from[c + 1]));
        largest = Math.max(largest, Math.abs(to[c] - from[c]));
      }
    }
    return largest;
  }

  /** Rows of this rank with a halo row before and after; the plate is hot above and slopes on the left. */
  private double[] initial() {
    double[] cells = new double[(count + 2) * n];
    for (int r = -1; r <= count; r++) {
      int row = first + r;
      for (int c = 0; c < n; c++) {
        boolean border = row <= 0 || row >= n - 1 || c == 0 || c == n - 1;
        cells[(r + 1) * n + c] = border ? edge(row, c) : 0.0;
      }
    }
    return cells;
  }

  private double edge(int row, int column) {
    if (row == 0) {
      return 100.0;
    }
    return column == 0 ? 100.0 * (n - 1 - row) / (n - 1) : 0.0;
  }

  private double[] rows() {
    return Arrays.copyOfRange(from, n, (count + 1) * n);
  }

  private static long checksum(double[] cells) {
    long hash = 0xcbf29ce484222325L;
    for (double cell : cells) {
      hash = (hash ^ Double.doubleToRawLongBits(cell)) * 1099511628211L;
    }
    return hash;
  }
}
