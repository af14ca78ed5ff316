import java.time.Duration;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.state.Stores;

/**
 * Counts words with Kafka Streams: BOOTSTRAP INPUT OUTPUT GUARANTEE STATE-DIRECTORY. Prints each state that the
 * application comes to, and closes it at the end of the input. Every count of every word is written, none is left out by a
 * cache: what must be in the output is known record by record.
 */
public final class WordCount {
    public static void main(String[] arguments) throws Exception {
        var config = new Properties();
        config.put("application.id", "word-count");
        config.put("bootstrap.servers", arguments[0]);
        config.put("processing.guarantee", arguments[3]);
        config.put("state.dir", arguments[4]);
        config.put("commit.interval.ms", 100);
        config.put("statestore.cache.max.bytes", 0);
        config.put("replication.factor", 1);
        config.put("reconnect.backoff.max.ms", 100);
        config.put("main.consumer.session.timeout.ms", 6000);
        config.put("main.consumer.heartbeat.interval.ms", 500);
        config.put("consumer.auto.offset.reset", "earliest");

        var builder = new StreamsBuilder();
        builder.stream(arguments[1], Consumed.with(Serdes.String(), Serdes.String()))
            .flatMapValues(line -> List.of(line.split(" ")))
            .groupBy((key, word) -> word, Grouped.with(Serdes.String(), Serdes.String()))
            .count(Materialized.<String, Long>as(Stores.inMemoryKeyValueStore("counts"))
                .withKeySerde(Serdes.String()).withValueSerde(Serdes.Long()))
            .toStream()
            .mapValues(String::valueOf)
            .to(arguments[2], Produced.with(Serdes.String(), Serdes.String()));

        try (var streams = new KafkaStreams(builder.build(), config)) {
            streams.setStateListener((state, before) -> System.out.println(state));
            streams.setUncaughtExceptionHandler(failure -> {
                failure.printStackTrace();
                return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
            });
            streams.start();
            while (System.in.read() >= 0) {
                // Nobody says anything before the end.
            }
            streams.close(Duration.ofSeconds(20));
        }
    }
}
