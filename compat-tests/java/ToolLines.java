import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs tools of Apache Kafka in this process, one for each line of standard input: a class and its arguments, between spaces, and behind
 * `<<` what the tool reads. Prints the line behind `== `, what the tool printed on standard output, and how it ended.
 */
public final class ToolLines {
    private static final List<Runnable> HOOKS = new ArrayList<>();
    private static Integer exited;

    private ToolLines() {
    }

    public static void main(String[] arguments) throws Exception {
        // The first one counts: in a process of its own there is no second.
        Exit.setExitProcedure((status, message) -> {
            if (exited == null) exited = status;
            throw new Exited();
        });
        // What a tool leaves to the end of its process, as sending what it has not sent, happens at the end of its line.
        Exit.setShutdownHookAdder((name, hook) -> HOOKS.add(hook));
        PrintStream out = System.out;
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] parts = line.split(" << ", 2);
            List<String> words = new ArrayList<>(Arrays.asList(parts[0].split(" ")));
            Class<?> tool = Class.forName(words.remove(0));
            String input = parts.length > 1 ? parts[1].replace("\\n", "\n") + "\n" : "";
            System.setIn(new ByteArrayInputStream(input.getBytes(StandardCharsets.UTF_8)));
            ByteArrayOutputStream printed = new ByteArrayOutputStream();
            System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
            int status = run(tool, words);
            HOOKS.forEach(Runnable::run);
            HOOKS.clear();
            out.println("== " + line);
            out.print(printed.toString(StandardCharsets.UTF_8));
            out.println("exit " + status);
            out.flush();
        }
    }

    private static int run(Class<?> tool, List<String> words) throws Exception {
        exited = null;
        try {
            tool.getMethod("main", String[].class).invoke(null, (Object) words.toArray(new String[0]));
            return exited == null ? 0 : exited;
        } catch (InvocationTargetException error) {
            return exited == null ? 1 : exited;
        }
    }

    private static final class Exited extends Error {
        private Exited() {
            super(null, null, false, false);
        }
    }
}
