import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.MemberDescription;
import org.apache.kafka.clients.admin.MemberToRemove;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.utils.Exit;
import org.apache.kafka.tools.consumer.group.ConsumerGroupCommand;

/**
 * Does with groups what their administrator does, by kafka-consumer-groups in this process, and prints each command
 * behind `== ` with all that it printed: ConsumerGroups BOOTSTRAP [PROGRAM]. What differs by nature from run to run is replaced
 * by words of the same length, and the lines are sorted, as the order of groups and partitions has no meaning.
 *
 * With PROGRAM, that one is called in place of the tool, with the tool's name as its first argument; `-` is the tool itself. What
 * counts then is what is printed on standard output, and how it ends.
 */
public final class ConsumerGroups {
    private static final long PATIENCE_MS = 60_000;
    private static final Pattern PORT = Pattern.compile("127\\.0\\.0\\.1:\\d{5}");

    private final String bootstrap;
    /** In place of the tool; null for the tool with all that it prints. */
    private final String program;
    private final Admin admin;
    private final PrintStream out = System.out;
    private final Deque<Member> members = new ArrayDeque<>();
    /** Of members. */
    private final Set<String> ids = new HashSet<>();

    private ConsumerGroups(String bootstrap, String program) {
        this.bootstrap = bootstrap;
        this.program = program;
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    public static void main(String[] arguments) throws Exception {
        Exit.setExitProcedure((status, message) -> {
            throw new Exited(status, message);
        });
        var groups = new ConsumerGroups(arguments[0], arguments.length > 1 ? arguments[1] : null);
        groups.prepare();
        groups.list();
        groups.look();
        groups.rebalance("rebalancing-classic", "classic", GroupState.PREPARING_REBALANCE);
        groups.rebalance("rebalancing-modern", "consumer", GroupState.RECONCILING);
        groups.leave();
        groups.list();
        for (String group : List.of("classic", "modern")) {
            groups.describe(group, "", " --members --verbose", " --state --verbose");
        }
        groups.reset();
        groups.delete();
    }

    /** Topics with records, and groups of every kind that have read them. */
    private void prepare() throws Exception {
        // The records are older than a broker keeps them if not told to.
        var forever = Map.of("retention.ms", "-1");
        admin.createTopics(List.of(new NewTopic("orders", 4, (short) 1).configs(forever), new NewTopic("single", 1, (short) 1).configs(forever)))
            .all().get();
        write();
        var simple = Map.of(new TopicPartition("orders", 1), new OffsetAndMetadata(3), new TopicPartition("single", 0), new OffsetAndMetadata(9));
        admin.alterConsumerGroupOffsets("simple", simple).all().get();
        join("classic", "classic", "orders", Map.of());
        join("modern", "consumer", "orders", Map.of());
        // Static members are assigned in the order of their names. Of the first two one has nothing to do.
        for (String name : List.of("a", "b")) {
            join("classic-static", "classic", "single", Map.of("group.instance.id", name));
            join("modern-static", "consumer", "orders", Map.of("group.instance.id", name, "group.remote.assignor", "range"));
        }
    }

    /** Ten records a partition, an hour apart from a fixed time on; those of partition 1 end at the present. */
    private void write() {
        long fixed = Instant.parse("2026-01-01T00:00:00Z").toEpochMilli();
        long recent = System.currentTimeMillis() - Duration.ofHours(9).plusMinutes(30).toMillis();
        try (var producer = new KafkaProducer<>(Map.of("bootstrap.servers", bootstrap), new StringSerializer(), new StringSerializer())) {
            for (int number = 0; number < 10; number++) {
                long after = Duration.ofHours(number).toMillis();
                for (int partition = 0; partition < 4; partition++) {
                    producer.send(new ProducerRecord<>("orders", partition, (partition == 1 ? recent : fixed) + after, null, "v" + number));
                }
                producer.send(new ProducerRecord<>("single", 0, fixed + after, null, "v" + number));
            }
        }
    }

    private void list() throws Exception {
        for (String list : List.of("", " --state", " --type", " --state --type", " --state Empty", " --state stable,Empty",
                " --state Dead", " --type classic", " --type Consumer --state")) {
            run("--list" + list);
        }
    }

    private void look() throws Exception {
        for (String group : List.of("classic", "modern", "classic-static", "modern-static", "simple", "nobody")) {
            describe(group, "", " --members", " --state", " --offsets --verbose", " --members --verbose", " --state --verbose");
        }
        run("--describe --all-groups --state");
        run("--describe --group classic --group nobody --group modern --state");
    }

    /** Looks at a group whose second member waits for the first one, which does not poll. */
    private void rebalance(String group, String protocol, GroupState meanwhile) throws Exception {
        join(group, protocol, "orders", Map.of());
        Member first = members.peek();
        first.pause();
        var second = new Member(bootstrap, group, protocol, "orders", Map.of());
        members.push(second);
        second.start();
        await(group + " is " + meanwhile, () -> {
            ConsumerGroupDescription described = described(group);
            // The second one has heard of the target; in a classic group there is none, and no epoch of members.
            return described.groupState() == meanwhile && described.members().size() == 2
                && described.members().stream().anyMatch(one -> one.memberEpoch().equals(described.targetAssignmentEpoch()));
        });
        described(group).members().forEach(one -> ids.add(one.consumerId()));
        describe(group, "", " --members", " --state", " --offsets --verbose", " --members --verbose", " --state --verbose");
        run("--list --state " + meanwhile);
        run("--delete --group " + group);
        run("--reset-offsets --group " + group + " --all-topics --to-latest --execute");
        first.goOn();
        await(group + " has two members", () -> {
            ConsumerGroupDescription described = described(group);
            return described.groupState() == GroupState.STABLE && described.members().size() == 2
                && described.members().stream().allMatch(ConsumerGroups::hasItsPart);
        });
        describe(group, " --state");
    }

    private void describe(String group, String... all) throws Exception {
        for (String what : all) {
            run("--describe --group " + group + what);
        }
    }

    private void reset() throws Exception {
        for (String group : List.of("classic", "fresh")) {
            for (String to : List.of("--to-earliest", "--to-latest", "--to-offset 4", "--to-offset 99", "--shift-by -3", "--shift-by 100",
                    "--shift-by -100", "--by-duration PT1H45M", "--to-datetime 2026-01-01T03:30:00.000",
                    "--to-datetime 2026-01-01T03:30:00.000+02:00", "--to-current")) {
                run("--reset-offsets --group " + group + " --topic orders " + to);
            }
        }
        for (String group : List.of("classic", "modern", "fresh")) {
            String orders = "--reset-offsets --group " + group + " --topic orders";
            run(orders + ":1,3 --to-earliest --execute");
            run("--describe --group " + group);
            run(orders + " --topic single --shift-by 2 --execute");
            run("--describe --group " + group + " --offsets --verbose");
            run(orders + ":7 --to-latest --execute");
            run("--reset-offsets --group " + group + " --topic nothing --to-latest --execute");
            run("--reset-offsets --group " + group + " --all-topics --to-offset 5 --dry-run");
            String exported = run("--reset-offsets --group " + group + " --all-topics --to-current --export");
            fromFile(group, exported.replace(",5", ",6") + "orders,2,1\n");
        }
        run("--reset-offsets --all-groups --all-topics --to-latest --dry-run");
        String exported = run("--reset-offsets --group classic --group modern --all-topics --to-earliest --export");
        fromFile("classic --group modern", exported);
        fromFile("classic", "orders,0\n");
        fromFile("classic", "not a line of it\n");
        run("--list --state");
    }

    private void fromFile(String group, String lines) throws Exception {
        Path file = Files.createTempFile("offsets", ".csv");
        try {
            Files.writeString(file, lines);
            run("--reset-offsets --group " + group + " --from-file " + file + " --dry-run");
            run("--reset-offsets --group " + group + " --from-file " + file + " --execute");
        } finally {
            Files.delete(file);
        }
    }

    /** Members come back, and are in the way of whoever wants to reset or delete. */
    private void delete() throws Exception {
        join("classic", "classic", "single", Map.of());
        join("modern", "consumer", "single", Map.of());
        for (String group : List.of("classic", "modern")) {
            run("--delete-offsets --group " + group + " --topic single");
            run("--delete-offsets --group " + group + " --topic orders:0,2 --topic orders:9");
            run("--delete-offsets --group " + group + " --topic nothing");
            run("--describe --group " + group);
            run("--reset-offsets --group " + group + " --topic single --to-latest --execute");
            run("--reset-offsets --group " + group + " --topic single --to-latest --dry-run");
            run("--delete --group " + group);
        }
        run("--delete-offsets --group simple --topic single --topic orders:1");
        run("--describe --group simple");
        run("--delete-offsets --group nobody --topic single");
        run("--delete --group simple --group classic --group nobody");
        leave();
        run("--delete --group classic --group nobody");
        run("--delete --all-groups");
        run("--list");
        run("--delete --group classic");
    }

    /** Runs the command and gives what it printed to standard output. */
    private String run(String command) throws Exception {
        List<String> words = List.of((command + " --timeout " + PATIENCE_MS + " --bootstrap-server " + bootstrap).split(" "));
        var lines = new ArrayList<String>();
        String result = program == null || program.equals("-") ? original(words, lines) : other(words, lines);
        result.lines().forEach(lines::add);
        out.println("== " + command.replaceAll("from-file \\S+", "from-file FILE"));
        lines.stream().filter(line -> !line.startsWith(" at [Source")).map(this::masked).sorted().forEach(out::println);
        return result;
    }

    /** Runs the tool in this process. Gives what it printed to standard output, and adds what else there is to say. */
    private String original(List<String> words, List<String> lines) {
        var printed = new ByteArrayOutputStream();
        var complaints = new ByteArrayOutputStream();
        PrintStream error = System.err;
        System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(complaints, true, StandardCharsets.UTF_8));
        try {
            ConsumerGroupCommand.main(words.toArray(new String[0]));
        } catch (Exited exit) {
            lines.add("exit " + exit.status + (program == null ? ": " + exit.getMessage() : ""));
        } finally {
            System.setOut(out);
            System.setErr(error);
        }
        // Of a failure its causes count, not the way that they took.
        if (program == null) {
            complaints.toString(StandardCharsets.UTF_8).lines().filter(line -> !line.startsWith("\t")).forEach(lines::add);
        }
        return printed.toString(StandardCharsets.UTF_8);
    }

    private String other(List<String> words, List<String> lines) throws Exception {
        var command = new ArrayList<>(List.of(program, "kafka-consumer-groups"));
        command.addAll(words);
        Process process = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.DISCARD).start();
        String printed = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        int status = process.waitFor();
        if (status != 0) {
            lines.add("exit " + status);
        }
        return printed;
    }

    private String masked(String line) {
        for (String id : ids) {
            line = line.replace(id, "m".repeat(id.length()));
        }
        if (line.startsWith("Deletion of requested")) {
            return Stream.of(line.split("[(), ]+")).sorted().toList().toString();
        }
        // What is wrong with a file is said in the words of whoever reads it.
        line = line.replaceAll("due to (com\\.fasterxml|line \\d+ of).*", "due to what is in the file");
        return PORT.matcher(line).replaceAll("127.0.0.1:ppppp");
    }

    /** Adds a member to a group and waits until it is part of it and has committed what it read. */
    private void join(String group, String protocol, String topic, Map<String, Object> settings) throws Exception {
        long there = members.stream().filter(member -> member.group.equals(group)).count();
        var member = new Member(bootstrap, group, protocol, topic, settings);
        members.push(member);
        member.start();
        await(group + " has " + (there + 1) + " members", () -> {
            ConsumerGroupDescription described = described(group);
            return described.groupState() == GroupState.STABLE && described.members().size() == there + 1
                && described.members().stream().allMatch(ConsumerGroups::hasItsPart) && hasRead(group, topic);
        });
        described(group).members().forEach(one -> ids.add(one.consumerId()));
    }

    private static boolean hasItsPart(MemberDescription member) {
        return member.targetAssignment().map(target -> target.equals(member.assignment())).orElse(true);
    }

    private boolean hasRead(String group, String topic) throws Exception {
        var offsets = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
        return offsets.keySet().stream().anyMatch(partition -> partition.topic().equals(topic))
            && offsets.entrySet().stream().filter(entry -> entry.getKey().topic().equals(topic)).allMatch(entry -> entry.getValue().offset() >= 10);
    }

    /** All members leave their groups, the last one first. */
    private void leave() throws Exception {
        while (!members.isEmpty()) {
            Member member = members.pop();
            member.end();
            // A static member stays until its session is over, or an administrator removes it.
            if (member.name != null) {
                admin.removeMembersFromConsumerGroup(member.group, new RemoveMembersFromConsumerGroupOptions(
                    List.of(new MemberToRemove(member.name)))).all().get();
            }
            long left = members.stream().filter(other -> other.group.equals(member.group)).count();
            await("a member of " + member.group + " is gone", () -> described(member.group).members().size() == left);
        }
    }

    private ConsumerGroupDescription described(String group) throws InterruptedException, ExecutionException {
        return admin.describeConsumerGroups(List.of(group)).all().get().get(group);
    }

    private void await(String what, Condition condition) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(PATIENCE_MS);
        while (!holds(condition)) {
            if (System.nanoTime() > deadline) {
                throw new IllegalStateException("in vain: " + what);
            }
            Thread.sleep(20);
        }
    }

    /** A group is unknown until its first member joins. */
    private static boolean holds(Condition condition) throws Exception {
        try {
            return condition.holds();
        } catch (ExecutionException failure) {
            return false;
        }
    }

    private interface Condition {
        boolean holds() throws Exception;
    }

    /** In place of the end of the process. */
    private static final class Exited extends RuntimeException {
        private final int status;

        private Exited(int status, String message) {
            super(message);
            this.status = status;
        }
    }

    /** A member that reads, and commits what it has read, until it is told to end. */
    private static final class Member extends Thread {
        private final String group;
        private final String name;
        private final KafkaConsumer<String, String> consumer;
        /** Held by whoever wants the member not to poll. */
        private final ReentrantLock polling = new ReentrantLock(true);
        private volatile boolean ended;

        private Member(String bootstrap, String group, String protocol, String topic, Map<String, Object> settings) {
            this.group = group;
            name = (String) settings.get("group.instance.id");
            var config = new HashMap<String, Object>(settings);
            if (protocol.equals("classic")) {
                config.put("heartbeat.interval.ms", 100);
            }
            config.putAll(Map.of("bootstrap.servers", bootstrap, "group.id", group, "group.protocol", protocol, "client.id", "reader",
                "auto.offset.reset", "earliest", "enable.auto.commit", false));
            consumer = new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
            consumer.subscribe(List.of(topic));
            setDaemon(true);
        }

        @Override
        public void run() {
            while (!ended) {
                polling.lock();
                try {
                    if (!consumer.poll(Duration.ofMillis(50)).isEmpty()) {
                        consumer.commitSync();
                    }
                } finally {
                    polling.unlock();
                }
            }
            consumer.close();
        }

        private void pause() {
            polling.lock();
        }

        private void goOn() {
            polling.unlock();
        }

        private void end() throws InterruptedException {
            ended = true;
            join();
        }
    }
}
