import java.time.Duration;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Transactions of a real producer, and what two kinds of consumers see of them.
 *
 *   TransactionHistory BOOTSTRAP write TOPIC PARTITIONS   writes some that are committed, some that are aborted, and one that is
 *                                                   left open, each over all partitions; others write in between
 *   TransactionHistory BOOTSTRAP read TOPIC PARTITIONS    prints every record and end offset that each isolation level shows
 */
public final class TransactionHistory {
    private static final int ROUNDS = 40;

    private TransactionHistory() { }

    public static void main(String[] arguments) throws Exception {
        String topic = arguments[2];
        int partitions = Integer.parseInt(arguments[3]);
        switch (arguments[1]) {
            case "write" -> write(arguments[0], topic, partitions);
            case "read" -> List.of("read_committed", "read_uncommitted")
                .forEach(level -> read(arguments[0], level, topic, partitions));
            default -> throw new IllegalArgumentException(arguments[1]);
        }
    }

    private static void write(String bootstrap, String topic, int partitions) throws Exception {
        var steady = producer(bootstrap, "steady");
        var wavering = producer(bootstrap, "wavering");
        var open = producer(bootstrap, "open");
        var plain = producer(bootstrap, null);
        for (int round = 0; round < ROUNDS; round++) {
            steady.beginTransaction();
            wavering.beginTransaction();
            send(steady, topic, partitions, "committed " + round);
            send(wavering, topic, partitions, "wavering " + round);
            send(plain, topic, partitions, "plain " + round);
            steady.commitTransaction();
            if (round % 3 == 0) {
                wavering.commitTransaction();
            } else {
                wavering.abortTransaction();
            }
        }
        open.beginTransaction();
        send(open, topic, partitions, "open");
        send(plain, topic, partitions, "after the open one");
        steady.beginTransaction();
        send(steady, topic, partitions, "committed behind the open one");
        steady.commitTransaction();
        System.out.println("written");
        System.out.flush();
        // A close would end the open one.
        Runtime.getRuntime().halt(0);
    }

    private static KafkaProducer<String, String> producer(String bootstrap, String transactionalId) {
        var config = new java.util.HashMap<String, Object>(Map.of(
            "bootstrap.servers", bootstrap, "acks", "all", "compression.type", "lz4", "transaction.timeout.ms", 900_000));
        if (transactionalId != null) {
            config.put("transactional.id", transactionalId);
        }
        var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer());
        if (transactionalId != null) {
            producer.initTransactions();
        }
        return producer;
    }

    private static void send(KafkaProducer<String, String> producer, String topic, int partitions, String value) throws Exception {
        for (int partition = 0; partition < partitions; partition++) {
            for (int number = 0; number < 3; number++) {
                producer.send(new ProducerRecord<>(topic, partition, "key " + number, value + " " + "x".repeat(2000)));
            }
        }
        producer.flush();
    }

    private static void read(String bootstrap, String isolationLevel, String topic, int partitions) {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "isolation.level", isolationLevel, "auto.offset.reset", "earliest");
        try (var consumer = new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer())) {
            var all = IntStream.range(0, partitions).mapToObj(partition -> new TopicPartition(topic, partition)).toList();
            var ends = consumer.endOffsets(all);
            consumer.assign(all);
            consumer.seekToBeginning(all);
            var lines = new java.util.ArrayList<String>();
            while (all.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
                consumer.poll(Duration.ofMillis(200)).forEach(record -> lines.add(String.format("%s %d %08d %s = %s", isolationLevel,
                    record.partition(), record.offset(), record.key(), record.value().substring(0, record.value().indexOf(" x")))));
            }
            lines.sort(Comparator.naturalOrder());
            lines.forEach(System.out::println);
            all.forEach(partition -> System.out.println(isolationLevel + " end of " + partition.partition() + ": " + ends.get(partition)));
        }
    }
}
