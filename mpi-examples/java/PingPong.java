/* SPDX-License-Identifier: Apache-2.0 */

import java.nio.ByteBuffer;
import java.util.Arrays;
import mpi.Comm;
import mpi.MPI;
import mpi.MPIException;

/**
 * MPI ping-pong between ranks 0 and 1 on Open MPI's Java bindings; the same algorithm, contents and result lines as
 * pingpong.c. Each message is checked byte by byte. Usage: PingPong [ROUNDS [BYTES...]]
 *
 * <p>Lines that start with "# time" hold measurements; all others are the same in every run.
 */
public final class PingPong {
  private static final int TAG = 7;
  private static final int WARM_UP = 20;
  private static final int[] SIZES = {1, 8, 64, 1024, 16384, 65536, 1048576};

  private PingPong() {}

  /** Runs the ping-pong; exits with 1 through MPI_Abort when a byte comes back changed. */
  public static void main(String[] args) throws MPIException {
    String[] rest = MPI.Init(args);
    Comm world = MPI.COMM_WORLD;
    int rank = world.getRank();
    int rounds = rest.length > 0 ? Integer.parseInt(rest[0]) : 1000;
    if (world.getSize() < 2 || rounds < 1) {
      die(world, "needs two ranks; usage: PingPong [ROUNDS [BYTES...]]");
    }
    int[] sizes =
        rest.length > 1
            ? Arrays.stream(rest).skip(1).mapToInt(Integer::parseInt).toArray()
            : SIZES;
    for (int bytes : sizes) {
      if (bytes < 1) {
        die(world, "a size must be a positive number");
      }
      if (rank < 2) {
        run(world, rank, bytes, bytes < 65536 ? rounds : rounds / 10 + 1);
      }
    }
    world.barrier();
    if (rank == 0) {
      System.out.println("pingpong done");
    }
    MPI.Finalize();
  }

  private static void run(Comm world, int rank, int bytes, int rounds) throws MPIException {
    ByteBuffer out = MPI.newByteBuffer(bytes);
    ByteBuffer in = MPI.newByteBuffer(bytes);
    double[] times = new double[rounds];
    long hash = 0xcbf29ce484222325L;
    for (int round = -WARM_UP; round < rounds; round++) {
      if (round == -WARM_UP || round % 64 == 0) {
        fill(out, bytes, round + bytes);
      }
      long from = System.nanoTime();
      if (rank == 0) {
        world.send(out, bytes, MPI.BYTE, 1, TAG);
        world.recv(in, bytes, MPI.BYTE, 1, TAG);
      } else {
        world.recv(in, bytes, MPI.BYTE, 0, TAG);
        world.send(in, bytes, MPI.BYTE, 0, TAG);
      }
      if (round >= 0) {
        times[round] = (System.nanoTime() - from) / 2000.0;
      }
      if (rank == 0 && (round < 0 || round % 64 == 0)) {
        for (int i = 0; i < bytes; i++) {
          byte got = in.get(i);
          if (got != out.get(i)) {
            die(world, "a byte came back changed");
          }
          hash = (hash ^ (got & 0xff)) * 1099511628211L;
        }
      }
    }
    if (rank == 0) {
      Arrays.sort(times);
      double us = times[rounds / 2];
      System.out.printf("pingpong bytes=%d rounds=%d checksum=%016x%n", bytes, rounds, hash);
      System.out.printf("# time bytes=%d us=%.2f mbit=%.1f%n", bytes, us, bytes * 8.0 / us);
    }
  }

  private static void fill(ByteBuffer data, int bytes, int start) {
    int seed = start;
    for (int i = 0; i < bytes; i++) {
      seed = seed * 1664525 + 1013904223;
      data.put(i, (byte) (seed >>> 24));
    }
  }

  private static void die(Comm world, String what) throws MPIException {
    System.err.println("PingPong: " + what);
    world.abort(1);
  }
}
