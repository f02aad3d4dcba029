// SPDX-License-Identifier: GPL-2.0-or-later
// A loop over hash maps: boxed keys, strings as keys, removal, iteration.
import java.util.HashMap;
import java.util.Map;

public class Maps {
    private static long state = 42;

    private static int random(int limit) {
        state = state * 6364136223846793005L + 1442695040888963407L;
        return (int) ((state >>> 33) % limit);
    }

    public static void main(String[] words) {
        long sum = 0;

        for (int round = 0; round < 10; round++) {
            Map<Integer, Long> numbers = new HashMap<>();
            Map<String, Integer> names = new HashMap<>();

            for (int i = 0; i < 150000; i++) {
                int key = random(50000);
                numbers.merge(key, (long) i, Long::sum);
                if (i % 3 == 0) {
                    numbers.remove(random(50000));
                }
            }
            for (int i = 0; i < 50000; i++) {
                names.merge("key" + random(9000), 1, Integer::sum);
            }
            for (Map.Entry<Integer, Long> e : numbers.entrySet()) {
                sum = sum * 31 + e.getKey() * 7L + e.getValue();
            }
            for (Map.Entry<String, Integer> e : names.entrySet()) {
                sum ^= (long) e.getKey().hashCode() * e.getValue();
            }
        }
        System.out.println(sum);
    }
}
