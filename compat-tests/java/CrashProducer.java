import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Writes numbered records to a topic without end, by an idempotent producer that never gives up:
 * CrashProducer BOOTSTRAP TOPIC PARTITIONS. To the line "acked" it answers with the number of acknowledged records; at
 * "finish" it sends no more, waits for the rest, answers the same and ends. The first failed record ends it.
 */
public final class CrashProducer {
    public static void main(String[] arguments) throws Exception {
        Map<String, Object> config = Map.of(
            "bootstrap.servers", arguments[0],
            "enable.idempotence", true,
            "acks", "all",
            "delivery.timeout.ms", Integer.MAX_VALUE,
            "max.block.ms", Integer.MAX_VALUE,
            "request.timeout.ms", 5_000,
            "reconnect.backoff.max.ms", 100,
            "retry.backoff.max.ms", 100,
            "buffer.memory", 1 << 20,
            "linger.ms", 1);
        String topic = arguments[1];
        int partitions = Integer.parseInt(arguments[2]);
        var acked = new AtomicLong();
        var failure = new AtomicReference<Exception>();
        var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer());
        var sender = new Thread(() -> {
            for (long number = 0; !Thread.currentThread().isInterrupted(); number++) {
                String value = String.format("%012d%0200d", number, 0);
                var record = new ProducerRecord<String, String>(topic, (int) (number % partitions), null, value);
                producer.send(record, (metadata, error) -> {
                    if (error == null) {
                        acked.incrementAndGet();
                    } else {
                        failure.compareAndSet(null, error);
                    }
                });
            }
        });
        sender.start();
        var input = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = input.readLine()) != null; ) {
            if (line.equals("finish")) {
                sender.interrupt();
                sender.join();
                producer.flush();
            }
            if (failure.get() != null) {
                failure.get().printStackTrace();
                System.exit(1);
            }
            System.out.println(acked.get());
            if (line.equals("finish")) {
                return;
            }
        }
    }
}
