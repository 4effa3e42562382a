//! Stacks as SDKs of each language write them.

use super::*;

fn frames<'a>(frames: &'a [Frame<'_>]) -> Vec<(&'a str, u32, &'a str)> {
    frames.iter().map(|frame| (&*frame.path, frame.line, &*frame.label)).collect()
}

#[test]
fn java_has_frames_causes_and_messages_of_several_lines() {
    let text = "java.lang.IllegalStateException: state is not legal\n\
        \tat io.example.Test.go(Test.java:16)\n\
        \tat java.base/jdk.internal.reflect.NativeMethodAccessorImpl.invoke0(Native Method)\n\
        \tSuppressed: Resource$CloseFailException: Resource ID = 0\n\
        \t\tat Resource.close(Resource.java:26)\n\
        Caused by: java.lang.IllegalArgumentException: bad argument\n\
        and more of it\n\
        \tat io.example.Test.to(Test.java:5)\n\
        \t... 2 more\n\
        Caused by: Bare\n\
        \tat a.B.c(Unknown Source)\n";
    for language in ["java", "php"] {
        let stack = read(language, text).unwrap();
        assert_eq!(
            frames(&stack.frames),
            [
                ("Test.java", 16, "io.example.Test.go"),
                ("Native Method", 0, "jdk.internal.reflect.NativeMethodAccessorImpl.invoke0"),
            ]
        );
        let [first, second] = stack.causes.as_slice() else { panic!("two causes") };
        assert_eq!(
            (&*first.kind, &*first.message),
            ("java.lang.IllegalArgumentException", "bad argument\nand more of it")
        );
        assert_eq!(frames(&first.frames), [("Test.java", 5, "io.example.Test.to")]);
        assert_eq!((&*second.kind, &*second.message), ("Bare", ""));
        assert_eq!(frames(&second.frames), [("Unknown Source", 0, "a.B.c")]);
    }
}

#[test]
fn python_is_read_from_the_end() {
    let text = "Traceback (most recent call last):\n  File \"greetings.py\", line 4, in greet_many\n    greet(person)\n    ~~~~~^^^^^^^^\n\
        TypeError: must be a name: not \"int\"\n\nDuring handling of the above exception, another exception occurred:\n\n\
        Traceback (most recent call last):\n  File \"main, v2.py\", line 10, in <module>\n    outer()\n  File \"main.py\", line 7, in outer\n    raise ValueError(\"x\")\n\
        ValueError: x\n";
    let stack = read("python", text).unwrap();
    assert_eq!(frames(&stack.frames), [("main.py", 7, "outer"), ("main, v2.py", 10, "<module>")]);
    let [cause] = stack.causes.as_slice() else { panic!("one cause") };
    assert_eq!((&*cause.kind, &*cause.message), ("TypeError", "must be a name: not \"int\""));
    assert_eq!(frames(&cause.frames), [("greetings.py", 4, "greet_many")]);
    let direct = text.replace(BETWEEN_OLD, "The above exception was the direct cause of the following exception:");
    assert_eq!(read("python", &direct).unwrap().causes.len(), 1);
}

const BETWEEN_OLD: &str = "During handling of the above exception, another exception occurred:";

#[test]
fn javascript_keeps_paths_with_colons() {
    let text = "TypeError: Cannot read property 'value' of null\n    at speedy (/home/gbusey/file.js:6:11)\n    at makeFaster (file:///srv/app.mjs:5:3)\n\
        \x20   at node:internal/main/run:12:1\n    at async Promise.all (index 0)\n    at new Promise (<anonymous>)\n    at Array.map (native)\n    at C:\\app\\x.js:3:9\n    rubbish";
    for language in ["nodejs", "webjs", "javascript"] {
        let stack = read(language, text).unwrap();
        assert_eq!(
            frames(&stack.frames),
            [
                ("/home/gbusey/file.js", 6, "speedy"),
                ("file:///srv/app.mjs", 5, "makeFaster"),
                ("node:internal/main/run", 12, ""),
                ("index 0", 0, "async Promise.all"),
                ("<anonymous>", 0, "new Promise"),
                ("native", 0, "Array.map"),
                ("C:\\app\\x.js", 3, ""),
            ]
        );
    }
}

#[test]
fn dotnet_has_places_or_none() {
    let text = "System.FormatException: Input string was not in a correct format\r\n   at System.Number.ThrowOverflowOrFormatException(ParsingStatus status)\r\n\
        \x20  at Service.Controllers.AppController.OutgoingHttp() in C:\\Users\\x\\AppController.cs:line 21\r\n--- End of stack trace ---\r\n   at A.B() in /src/a.cs";
    let stack = read("dotnet", text).unwrap();
    assert_eq!(
        frames(&stack.frames),
        [
            ("", 0, "System.Number.ThrowOverflowOrFormatException(ParsingStatus status)"),
            ("C:\\Users\\x\\AppController.cs", 21, "Service.Controllers.AppController.OutgoingHttp()"),
            ("/src/a.cs", 0, "A.B()"),
        ]
    );
}

#[test]
fn go_pairs_functions_with_places() {
    let text = "goroutine 19 [running]:\nruntime/debug.Stack()\n\t/usr/local/go/src/runtime/debug/stack.go:24 +0x65\nmain.f(0xc000, {0x1, 0x2})\n\t/home/x/main.go:31\n\
        created by main.main in goroutine 1\n\t/home/x/main.go:12 +0x1f\n";
    let stack = read("go", text).unwrap();
    assert_eq!(
        frames(&stack.frames),
        [
            ("/usr/local/go/src/runtime/debug/stack.go", 24, "runtime/debug.Stack()"),
            ("/home/x/main.go", 31, "main.f(0xc000, {0x1, 0x2})"),
            ("/home/x/main.go", 12, "main.main in goroutine 1"),
        ]
    );
}

#[test]
fn long_stacks_are_cut_and_counted() {
    let text = format!("E: m\n{}", "\tat a.B.c(D.java:1)\n".repeat(1000));
    let stack = read("java", &text).unwrap();
    assert_eq!((stack.frames.len(), stack.truncated), (MOST_FRAMES, 1000 - MOST_FRAMES));
    let text = format!("E: m\n{}", "Caused by: X: y\n\tat a.B.c(D.java:1)\n".repeat(1000));
    assert_eq!(read("java", &text).unwrap().causes.len(), MOST_CAUSES);
}

#[test]
fn what_is_no_stack_is_not_one() {
    for language in ["java", "python", "nodejs", "dotnet", "go", "ruby", ""] {
        for text in ["", "\n", "no stack at all", "E: m\n\tat \n\tat (\n    at \n  File \"\n"] {
            assert_eq!(read(language, text), None, "{language} {text:?}");
        }
    }
}
