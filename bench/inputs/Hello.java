// SPDX-License-Identifier: GPL-2.0-or-later
// What a start of the virtual machine costs: a few classes, streams, a formatted line.
import java.util.Arrays;
import java.util.stream.Collectors;

public class Hello {
    public static void main(String[] words) {
        System.out.println(Arrays.stream("the start of a machine".split(" ")).sorted()
                .map(word -> word + ":" + word.length()).collect(Collectors.joining(",")));
        System.out.println(String.format("%08x %.3f", "start".hashCode(), Math.sqrt(2)));
    }
}
