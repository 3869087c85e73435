package cloudlake;

import io.delta.storage.S3SingleDriverLogStore;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.util.Arrays;
import java.util.Iterator;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FSDataOutputStreamBuilder;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.s3a.RemoteFileChangedException;

/**
 * Delta's log in an S3 store, where the store itself decides which of two writers has made a version: an entry is put on
 * the condition that there is none of its name. Delta's own log store looks first and writes then, within one JVM; two
 * programs that commit the same version both believe that they have, and the rows of one are gone.
 */
public class ConditionalLogStore extends S3SingleDriverLogStore {

  /** Makes the create of S3A a PUT with If-None-Match; must(): a version of Hadoop that does not know it fails. */
  private static final String CONDITIONAL = "fs.option.create.conditional.overwrite";

  public ConditionalLogStore(Configuration hadoopConf) {
    super(hadoopConf);
  }

  @Override
  public void write(Path path, Iterator<String> actions, Boolean overwrite, Configuration hadoopConf) throws IOException {
    if (overwrite) {
      super.write(path, actions, true, hadoopConf);
      return;
    }
    StringBuilder text = new StringBuilder();
    while (actions.hasNext()) {
      text.append(actions.next()).append('\n');
    }
    byte[] entry = text.toString().getBytes(StandardCharsets.UTF_8);
    FileSystem store = path.getFileSystem(hadoopConf);
    FSDataOutputStreamBuilder<?, ?> create = store.createFile(store.makeQualified(path));
    create.must(CONDITIONAL, true);
    try (FSDataOutputStream stream = create.build()) {
      stream.write(entry);
    } catch (RemoteFileChangedException | org.apache.hadoop.fs.FileAlreadyExistsException taken) {
      if (!Arrays.equals(entry, held(store, path))) {
        throw (IOException) new FileAlreadyExistsException(path.toString()).initCause(taken);
      }
      // The PUT was ours: its answer was lost, and the client has tried again. Each entry has an id of its own.
    }
  }

  private static byte[] held(FileSystem store, Path path) throws IOException {
    try (InputStream stream = store.open(path)) {
      return stream.readAllBytes();
    }
  }
}
