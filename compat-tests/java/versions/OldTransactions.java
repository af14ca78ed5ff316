import java.util.Map;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.serialization.StringSerializer;

/** The transactions of tests/clients/transactions.rs, by older producers: offsets go with the name of their group alone. */
public final class OldTransactions {
    private final String bootstrap;
    private final String topic;
    private final String group;
    private final String id;

    private OldTransactions(String[] arguments) {
        bootstrap = arguments[0];
        topic = arguments[1];
        group = arguments[2];
        id = arguments[3];
    }

    public static void main(String[] arguments) {
        new OldTransactions(arguments).run();
        System.out.println("done");
    }

    private void run() {
        try (var first = producer()) {
            transact(first, "committed-0", 3L, true);
            transact(first, "aborted", 9L, false);
            transact(first, "committed-1", null, true);
            first.beginTransaction();
            first.send(new ProducerRecord<>(topic, 0, null, "lost"));
            first.flush();
            try (var second = producer()) {
                commitFenced(first);
                transact(second, "committed-2", null, true);
            }
        }
    }

    private static void commitFenced(KafkaProducer<String, String> producer) {
        try {
            producer.commitTransaction();
        } catch (KafkaException failure) {
            boolean fenced = isFencing(failure) || isFencing(failure.getCause());
            if (!fenced) {
                throw failure;
            }
            System.out.println("fenced");
            return;
        }
        throw new IllegalStateException("the first producer was not fenced");
    }

    private static boolean isFencing(Throwable failure) {
        // By its name: the oldest versions do not have it.
        return failure instanceof ProducerFencedException
            || failure != null && failure.getClass().getSimpleName().equals("InvalidProducerEpochException");
    }

    private KafkaProducer<String, String> producer() {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "transactional.id", id, "linger.ms", 0);
        var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer());
        producer.initTransactions();
        return producer;
    }

    @SuppressWarnings("deprecation")
    private void transact(KafkaProducer<String, String> producer, String value, Long offset, boolean commit) {
        producer.beginTransaction();
        producer.send(new ProducerRecord<>(topic, 0, null, value));
        if (offset != null) {
            producer.sendOffsetsToTransaction(Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(offset)), group);
        }
        if (commit) {
            producer.commitTransaction();
        } else {
            producer.flush();
            producer.abortTransaction();
        }
    }
}
