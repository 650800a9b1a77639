// SPDX-License-Identifier: Apache-2.0
package hutong.shell.internal;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;

/**
 * The output of a command on its way to a client. A line that the client could take for the end of
 * the answer is indented, so that a command's output cannot end it.
 */
final class AnswerStream extends OutputStream {
  private static final int MAX_LINE = 1 << 16;

  private final OutputStream out;
  private final ByteArrayOutputStream line = new ByteArrayOutputStream();
  private boolean atStart = true;

  AnswerStream(OutputStream out) {
    this.out = out;
  }

  @Override
  public synchronized void write(int b) throws IOException {
    line.write(b);
    if (b == '\n' || line.size() >= MAX_LINE) {
      writeLine(b == '\n');
    }
  }

  @Override
  public synchronized void write(byte[] bytes, int offset, int length) throws IOException {
    for (int i = 0; i < length; i++) {
      write(bytes[offset + i]);
    }
  }

  /** Ends the answer. */
  synchronized void end(String lastLine) throws IOException {
    if (line.size() > 0 || !atStart) {
      write('\n');
    }
    out.write((lastLine + "\n").getBytes(StandardCharsets.UTF_8));
    out.flush();
  }

  private void writeLine(boolean complete) throws IOException {
    if (atStart) {
      String text = line.toString(StandardCharsets.UTF_8);
      if (text.equals("ok\n") || text.startsWith("error: ")) {
        out.write(' ');
      }
    }
    line.writeTo(out);
    line.reset();
    atStart = complete;
  }
}
