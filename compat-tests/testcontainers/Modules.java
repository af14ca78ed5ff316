// Prints how the Java modules start their containers, as one line of JSON each. The modules' own code runs, with containers that
// note what they are told instead of asking an engine. Ports are mapped to themselves.

import com.github.dockerjava.api.command.CreateContainerCmd;
import com.github.dockerjava.api.command.InspectContainerResponse;
import com.github.dockerjava.api.model.ContainerConfig;
import java.lang.reflect.Field;
import java.lang.reflect.Proxy;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.testcontainers.containers.GenericContainer;
import org.testcontainers.containers.wait.strategy.LogMessageWaitStrategy;
import org.testcontainers.images.builder.Transferable;
import org.testcontainers.kafka.ConfluentKafkaContainer;
import org.testcontainers.kafka.KafkaContainer;
import org.testcontainers.redpanda.RedpandaContainer;
import org.testcontainers.shaded.com.fasterxml.jackson.databind.ObjectMapper;
import org.testcontainers.utility.DockerImageName;
import org.testcontainers.utility.MountableFile;

public class Modules {
    static final String HOST = "tc";

    /** What is copied into the running container. */
    static final List<List<String>> later = new ArrayList<>();

    static DockerImageName image(String of) {
        return DockerImageName.parse("ottla:compat").asCompatibleSubstituteFor(of);
    }

    static void copied(Transferable file, String path) {
        later.add(List.of(path, new String(file.getBytes(), StandardCharsets.UTF_8)));
    }

    static class Apache extends KafkaContainer {
        Apache() { super(image("apache/kafka")); }
        @Override public String getHost() { return "localhost"; }
        @Override public Integer getMappedPort(int port) { return port; }
        @Override public void copyFileToContainer(Transferable file, String path) { copied(file, path); }
        Apache started() throws Exception { configure(); containerIsStarting(inspected()); return this; }
    }

    static class Confluent extends ConfluentKafkaContainer {
        Confluent() { super(image("confluentinc/cp-kafka")); }
        @Override public String getHost() { return "localhost"; }
        @Override public Integer getMappedPort(int port) { return port; }
        @Override public void copyFileToContainer(Transferable file, String path) { copied(file, path); }
        Confluent started() throws Exception { configure(); containerIsStarting(inspected()); return this; }
    }

    /** The one of before, with ZooKeeper inside or without. */
    static class Legacy extends org.testcontainers.containers.KafkaContainer {
        Legacy() { super(DockerImageName.parse("ottla:7.6.0").asCompatibleSubstituteFor("confluentinc/cp-kafka")); }
        @Override public String getDockerImageName() { return "ottla:7.6.0"; }
        @Override public String getHost() { return "localhost"; }
        @Override public Integer getMappedPort(int port) { return port; }
        @Override public void copyFileToContainer(Transferable file, String path) { copied(file, path); }
        Legacy started() throws Exception { configure(); containerIsStarting(inspected()); return this; }
    }

    static class Redpanda extends RedpandaContainer {
        Redpanda() { super(image("redpandadata/redpanda")); }
        @Override public String getHost() { return "localhost"; }
        @Override public Integer getMappedPort(int port) { return port; }
        @Override public void copyFileToContainer(Transferable file, String path) { copied(file, path); }
        Redpanda started() throws Exception { configure(); containerIsStarting(inspected()); return this; }
    }

    static InspectContainerResponse inspected() throws Exception {
        InspectContainerResponse response = new InspectContainerResponse();
        set(response, "config", new ContainerConfig().withHostName(HOST));
        return response;
    }

    static void set(Object of, String name, Object value) throws Exception {
        Field field = of.getClass().getDeclaredField(name);
        field.setAccessible(true);
        field.set(of, value);
    }

    static Object get(Class<?> in, Object of, String name) throws Exception {
        Field field = in.getDeclaredField(name);
        field.setAccessible(true);
        return field.get(of);
    }

    /** The entry point: of the definition, or what a modifier of the command sets. */
    static List<String> entrypoint(GenericContainer<?> container) throws Exception {
        List<String> found = new ArrayList<>();
        Object definition = get(GenericContainer.class, container, "containerDef");
        Object defined = get(Class.forName("org.testcontainers.containers.ContainerDef"), definition, "entrypoint");
        if (defined != null) found.addAll(Arrays.asList((String[]) defined));
        CreateContainerCmd noting = (CreateContainerCmd) Proxy.newProxyInstance(
            Modules.class.getClassLoader(), new Class<?>[] {CreateContainerCmd.class}, (proxy, method, arguments) -> {
                if (method.getName().equals("withEntrypoint")) {
                    found.clear();
                    Object words = arguments[0];
                    if (words instanceof String[] list) found.addAll(Arrays.asList(list));
                    else for (Object word : (List<?>) words) found.add(word.toString());
                }
                return CreateContainerCmd.class.isAssignableFrom(method.getReturnType()) ? proxy : null;
            });
        for (var modifier : container.getCreateContainerCmdModifiers()) modifier.modify(noting);
        return found;
    }

    static void print(String name, int port, GenericContainer<?> container) throws Exception {
        Map<String, Object> module = new LinkedHashMap<>();
        List<String> command = entrypoint(container);
        command.addAll(Arrays.asList(container.getCommandParts()));
        List<List<String>> files = new ArrayList<>();
        for (Map.Entry<MountableFile, String> file : container.getCopyToFileContainerPathMap().entrySet())
            files.add(List.of(file.getValue(), Files.readString(Path.of(file.getKey().getFilesystemPath()))));
        // Where the definition of a container has one, it is the one that counts.
        Object wait = get(Class.forName("org.testcontainers.containers.ContainerDef"), get(GenericContainer.class, container, "containerDef"), "waitStrategy");
        if (!(wait instanceof LogMessageWaitStrategy)) wait = get(GenericContainer.class, container, "waitStrategy");
        module.put("name", "java-" + name);
        module.put("env", container.getEnvMap());
        module.put("command", command);
        module.put("files", files);
        module.put("later", List.copyOf(later));
        module.put("ready", get(wait.getClass(), wait, "regEx"));
        module.put("port", port);
        later.clear();
        System.out.println(new ObjectMapper().writeValueAsString(module));
    }

    public static void main(String[] arguments) throws Exception {
        print("apache", 9092, new Apache().started());
        print("confluent", 9092, new Confluent().started());
        print("legacy-zookeeper", 9093, new Legacy().started());
        Legacy kraft = new Legacy();
        kraft.withKraft();
        print("legacy-kraft", 9093, kraft.started());
        print("redpanda", 9092, new Redpanda().started());
    }
}
