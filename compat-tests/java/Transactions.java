import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** The transactions of tests/clients/transactions.rs, by Apache Kafka's own producer. */
public final class Transactions {
    private final String bootstrap;
    private final String topic;
    private final String group;
    private final String id;

    private Transactions(String[] arguments) {
        bootstrap = arguments[0];
        topic = arguments[1];
        group = arguments[2];
        id = arguments[3];
    }

    public static void main(String[] arguments) {
        new Transactions(arguments).run();
    }

    private void run() {
        try (var first = producer(); var consumer = consumer()) {
            var metadata = consumer.groupMetadata();
            transact(first, "committed-0", metadata, 3, true);
            transact(first, "aborted", metadata, 9, false);
            transact(first, "committed-1", null, 0, true);
            first.beginTransaction();
            first.send(new ProducerRecord<>(topic, 0, null, "lost"));
            first.flush();
            try (var second = producer()) {
                try {
                    first.commitTransaction();
                    throw new IllegalStateException("the first producer was not fenced");
                } catch (ProducerFencedException | InvalidProducerEpochException fenced) {
                    System.out.println("fenced");
                } catch (KafkaException failure) {
                    if (!(failure.getCause() instanceof ProducerFencedException)) {
                        throw failure;
                    }
                    System.out.println("fenced");
                }
                transact(second, "committed-2", null, 0, true);
            }
        }
        System.out.println("done");
    }

    private KafkaProducer<String, String> producer() {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "transactional.id", id, "linger.ms", 0);
        var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer());
        producer.initTransactions();
        return producer;
    }

    private KafkaConsumer<String, String> consumer() {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "group.id", group);
        return new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
    }

    private void transact(
            KafkaProducer<String, String> producer, String value, ConsumerGroupMetadata group, long offset, boolean commit) {
        producer.beginTransaction();
        producer.send(new ProducerRecord<>(topic, 0, null, value));
        if (group != null) {
            producer.sendOffsetsToTransaction(
                Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(offset)), group);
        }
        if (commit) {
            producer.commitTransaction();
        } else {
            producer.flush();
            producer.abortTransaction();
        }
    }
}
