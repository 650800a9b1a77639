/* SPDX-License-Identifier: Apache-2.0 */

import java.nio.ByteBuffer;
import mpi.Comm;
import mpi.MPI;
import mpi.MPIException;
import mpi.Request;
import mpi.Status;

/**
 * Every rank sends to every other at once, messages of mixed sizes; the same algorithm, contents and result lines as
 * mixed.c. Each byte is checked. Usage: Mixed [ROUNDS [MOST]]
 *
 * <p>Lines that start with "# time" hold measurements; all others are the same in every run.
 */
public final class Mixed {
  private static final int[] BOUND = {64, 4096, 70000};

  private Mixed() {}

  /** Runs the exchange; exits with 1 through MPI_Abort when a byte is wrong. */
  public static void main(String[] args) throws MPIException {
    String[] rest = MPI.Init(args);
    Comm world = MPI.COMM_WORLD;
    int rank = world.getRank();
    int ranks = world.getSize();
    int rounds = rest.length > 0 ? Integer.parseInt(rest[0]) : 200;
    int most = rest.length > 1 ? Integer.parseInt(rest[1]) : 300000;
    if (rounds < 1 || most < 1 || most > 1 << 26) {
      die(world, "usage: Mixed [ROUNDS [MOST]]");
    }
    ByteBuffer[] out = new ByteBuffer[ranks];
    ByteBuffer[] in = new ByteBuffer[ranks];
    for (int peer = 0; peer < ranks; peer++) {
      out[peer] = MPI.newByteBuffer(most);
      in[peer] = MPI.newByteBuffer(most);
    }
    Request[] requests = new Request[2 * ranks];
    long total = 0;
    long sum = 0;
    world.barrier();
    double from = MPI.wtime();
    for (int round = 0; round < rounds; round++) {
      for (int peer = 0; peer < ranks; peer++) {
        requests[peer] = world.iRecv(in[peer], most, MPI.BYTE, peer, round);
      }
      for (int peer = 0; peer < ranks; peer++) {
        int bytes = size(rank, peer, round, most);
        fill(out[peer], bytes, mix(rank, peer, round));
        requests[ranks + peer] = world.iSend(out[peer], bytes, MPI.BYTE, peer, round);
      }
      Status[] statuses = Request.waitAllStatus(requests);
      for (int peer = 0; peer < ranks; peer++) {
        int bytes = statuses[peer].getCount(MPI.BYTE);
        if (bytes != size(peer, rank, round, most)) {
          die(world, "a message of a wrong size");
        }
        sum = sum * 31 + check(world, in[peer], bytes, mix(peer, rank, round));
        total += bytes;
      }
    }
    double seconds = MPI.wtime() - from;
    long[] mine = {total, sum >>> 16};
    long[] all = new long[2];
    world.reduce(mine, all, 2, MPI.LONG, MPI.SUM, 0);
    if (rank == 0) {
      System.out.printf("mixed ranks=%d rounds=%d bytes=%d sum=%d%n", ranks, rounds, all[0], all[1]);
      System.out.printf("# time seconds=%.4f%n", seconds);
    }
    MPI.Finalize();
  }

  private static int mix(int from, int to, int round) {
    int h = from * (int) 2654435761L ^ to * (int) 2246822519L ^ round * (int) 3266489917L;
    h ^= h >>> 15;
    h *= 739982445;
    return h ^ h >>> 12;
  }

  private static int size(int from, int to, int round, int most) {
    int h = mix(from, to, round);
    int kind = Integer.remainderUnsigned(h, 4);
    return (h >>> 2) % (kind < 3 ? BOUND[kind] : most + 1) % (most + 1);
  }

  private static void fill(ByteBuffer data, int bytes, int seed) {
    for (int i = 0; i < bytes; i++) {
      seed = seed * 1664525 + 1013904223;
      data.put(i, (byte) (seed >>> 24));
    }
  }

  private static long check(Comm world, ByteBuffer data, int bytes, int seed) throws MPIException {
    long hash = 0xcbf29ce484222325L;
    for (int i = 0; i < bytes; i++) {
      seed = seed * 1664525 + 1013904223;
      byte value = data.get(i);
      if (value != (byte) (seed >>> 24)) {
        die(world, "a wrong byte");
      }
      hash = (hash ^ (value & 0xff)) * 1099511628211L;
    }
    return hash;
  }

  private static void die(Comm world, String what) throws MPIException {
    System.err.println("Mixed: " + what);
    world.abort(1);
  }
}
