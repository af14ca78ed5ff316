import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.TreeMap;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.metadata.properties.MetaProperties;
import org.apache.kafka.server.storage.log.FetchIsolation;
import org.apache.kafka.server.util.KafkaScheduler;
import org.apache.kafka.storage.internals.checkpoint.LeaderEpochCheckpointFile;
import org.apache.kafka.storage.internals.checkpoint.OffsetCheckpointFile;
import org.apache.kafka.storage.internals.checkpoint.PartitionMetadataFile;
import org.apache.kafka.storage.internals.log.LogConfig;
import org.apache.kafka.storage.internals.log.LogDirFailureChannel;
import org.apache.kafka.storage.internals.log.ProducerStateManagerConfig;
import org.apache.kafka.storage.internals.log.UnifiedLog;
import org.apache.kafka.storage.log.metrics.BrokerTopicStats;

/**
 * Opens the data directory of a stopped broker with Apache Kafka's own storage classes and prints, as JSON, what they
 * find: LogFiles DATA-DIR clean|killed PARTITION-DIR…. Loading a log may repair it: give it a copy.
 */
public final class LogFiles {
    public static void main(String[] arguments) throws Exception {
        File data = new File(arguments[0]);
        boolean clean = arguments[1].equals("clean");
        var failures = new LogDirFailureChannel(1);
        var metaProperties = new Properties();
        try (var file = Files.newBufferedReader(data.toPath().resolve("meta.properties"))) {
            metaProperties.load(file);
        }
        var meta = new MetaProperties.Builder(metaProperties).build();
        var found = new TreeMap<String, Object>();
        found.put("version", meta.version().number());
        found.put("cluster_id", meta.clusterId().orElseThrow());
        found.put("clean_shutdown_marker", new File(data, ".kafka_cleanshutdown").exists());
        Map<TopicPartition, Long> recoveryPoints = checkpoint(data, "recovery-point-offset-checkpoint", failures);
        Map<TopicPartition, Long> logStarts = checkpoint(data, "log-start-offset-checkpoint", failures);
        var scheduler = new KafkaScheduler(1);
        scheduler.startup();
        var partitions = new TreeMap<String, Object>();
        for (String name : List.of(arguments).subList(2, arguments.length)) {
            File directory = new File(data, name);
            TopicPartition partition = UnifiedLog.parseTopicPartitionName(directory);
            Uuid topicId = new PartitionMetadataFile(PartitionMetadataFile.newFile(directory), failures).read().topicId();
            var epochs = new LeaderEpochCheckpointFile(LeaderEpochCheckpointFile.newFile(directory), failures).read();
            var log = UnifiedLog.create(
                directory, new LogConfig(Map.of()), logStarts.getOrDefault(partition, 0L),
                recoveryPoints.getOrDefault(partition, 0L), scheduler, new BrokerTopicStats(false), Time.SYSTEM,
                300_000, new ProducerStateManagerConfig(86_400_000, false), 600_000, failures, clean,
                Optional.of(topicId));
            partitions.put(name, Map.of(
                "log_start", log.logStartOffset(),
                "log_end", log.logEndOffset(),
                "segments", log.numberOfSegments(),
                "records", countRecords(log),
                "leader_epochs", epochs.size(),
                "producers", log.activeProducers().size()));
            log.close();
        }
        found.put("partitions", partitions);
        scheduler.shutdown();
        System.out.println(new ObjectMapper().writeValueAsString(found));
    }

    /** A broker that never stopped has not written its checkpoints yet. */
    private static Map<TopicPartition, Long> checkpoint(File data, String name, LogDirFailureChannel failures)
            throws Exception {
        Path file = data.toPath().resolve(name);
        return Files.exists(file) ? new OffsetCheckpointFile(file.toFile(), failures).read() : Map.of();
    }

    /** Reads the whole log by offset, as a fetch does, checking every batch. */
    private static long countRecords(UnifiedLog log) throws Exception {
        long count = 0;
        long next = log.logStartOffset();
        while (next < log.logEndOffset()) {
            for (RecordBatch batch : log.read(next, 1 << 20, FetchIsolation.LOG_END, true).records.batches()) {
                batch.ensureValid();
                count += batch.countOrNull();
                next = batch.nextOffset();
            }
        }
        return count;
    }
}
