//! The program as it is called: arguments in, streams and exit codes out.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// simctl in a folder, without anything of the environment that it listens to.
fn simctl(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_simctl"));
    command.args(args).current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("SIMCTL_") || ["NO_COLOR", "CLICOLOR_FORCE", "COLUMNS", "LC_ALL", "LANG"].contains(&&*text)
        {
            command.env_remove(&name);
        }
    }
    command
}

fn end(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = simctl(folder, args).output().expect("simctl starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("an exit code"), text(stdout), text(stderr))
}

/// A folder with a scenario in it.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    assert_eq!(end(folder.path(), &["init", "spike.toml"]).0, 0);
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("folder");
    let mut names: Vec<String> =
        entries.map(|e| e.expect("entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn bad_files_are_told_once_with_their_code() {
    let folder = folder();
    let at = folder.path();
    std::fs::write(at.join("empty.toml"), "").expect("file");
    std::fs::write(at.join("bytes.toml"), b"[simulation]\nduration = \"\xff\xfe\"\n").expect("file");
    std::fs::write(at.join("syntax.toml"), "[simulation\nduration = 5m\n").expect("file");
    for (args, code, words) in [
        (&["run", "missing.toml"][..], 3, "there is no file `missing.toml`"),
        (&["run", "spikes.toml"], 3, "spike.toml"),
        (&["run", "."], 3, "is a directory"),
        (&["run", "spike.toml/x.toml"], 3, "spike.toml/x.toml"),
        (&["run", "empty.toml"], 2, "is empty"),
        (&["run", "bytes.toml"], 2, "not UTF-8"),
        (&["run", "syntax.toml"], 2, "syntax.toml:1"),
        (&["run", "spike.toml", "--set", "services.web.task.cpu=\"a lot\""], 2, "--set:1"),
        (&["run", "spike.toml", "--set", "services.web.tasks.cpu=1024"], 2, "tasks"),
        (&["run", "spike.toml", "--set", "services.web.task.cpu=300"], 2, "Fargate has no task size"),
        (&["run", "spike.toml", "--set", "services.web.desired_count=-1"], 2, "desired_count"),
        (&["run", "spike.toml", "--set", "simulation.duration=\"1e30h\""], 2, "simulation.duration"),
        (&["run", "spike.toml", "--set", "simulation.duration=\"-5m\""], 2, "simulation.duration"),
        (&["run", "spike.toml", "--set", "nonsense"], 2, "nonsense"),
        (&["run", "spike.toml", "--variant", "no-such"], 2, "no-such"),
        (&["check", "missing.toml"], 3, "there is no file"),
        (&["report", "spike.toml"], 3, "spike.toml"),
        (&["report", "."], 3, "summary.json"),
        (&["init", "spike.toml"], 3, "exists and is left as it is"),
        (&["init", "no/such/folder.toml"], 3, "no/such/folder.toml"),
        (&["explain", "exit-code"], 2, "did you mean `exit-codes`"),
        (&["run", "--example", "no-such"], 2, "there is no example `no-such`"),
        (&["run"], 2, "required"),
        (&["rum", "spike.toml"], 2, "run"),
    ] {
        let (got, out, err) = end(at, args);
        assert_eq!(got, code, "{args:?}: {err}");
        assert!(err.contains(words), "{args:?}: {err}");
        assert_eq!(out, "", "{args:?}");
        assert!(!err.contains("panicked") && !err.contains("mistake of simctl"), "{args:?}: {err}");
    }
    assert_eq!(names(at), ["bytes.toml", "empty.toml", "spike.toml", "syntax.toml"], "nothing is left behind");
}

#[test]
fn a_place_that_cannot_hold_the_result_is_told_before_anything_runs() {
    let folder = folder();
    let at = folder.path();
    std::fs::write(at.join("file"), "mine").expect("file");
    std::fs::create_dir(at.join("mine")).expect("folder");
    std::fs::write(at.join("mine/thesis.tex"), "ten years").expect("file");
    let mut cases = vec![("file", "file"), ("file/below", "file"), ("mine", "mine")];
    if cfg!(target_os = "linux") {
        cases.push(("/proc/simctl/result", "/proc/simctl"));
    }
    for (out, words) in cases {
        for more in [&[][..], &["--force"]] {
            let args = [&["run", "spike.toml", "--out", out], more].concat();
            let (code, _, err) = end(at, &args);
            assert_eq!(code, 3, "{out}: {err}");
            assert!(err.contains(words), "{out}: {err}");
            assert_eq!(err.lines().count(), 1, "{err}");
        }
    }
    assert_eq!(std::fs::read_to_string(at.join("mine/thesis.tex")).expect("kept"), "ten years");
    assert_eq!(names(at), ["file", "mine", "spike.toml"]);
}

#[test]
fn documents_go_to_standard_output() {
    let folder = folder();
    let at = folder.path();
    let (code, out, err) = end(at, &["check", "spike.toml"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("spike/base is valid"), "{out}");
    let (code, out, _) = end(at, &["check", "spike.toml", "--format", "json", "--variant", "all"]);
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &json["valid"]), (0, &serde_json::Value::Bool(true)));
    let (code, out, err) = end(at, &["check", "spike.toml", "--format", "json", "--set", "simulation.sead=1"]);
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &json["valid"], err.as_str()), (2, &serde_json::Value::Bool(false), ""));
    let (code, _, err) = end(at, &["run", "spike.toml", "--error-format", "json", "--set", "simulation.sead=1"]);
    let json: serde_json::Value = serde_json::from_str(&err).expect("JSON");
    assert_eq!((code, &json[0]["severity"]), (2, &serde_json::Value::from("error")));
    for args in [&["schema"][..], &["catalog", "fargate"], &["explain"], &["explain", "files"], &["init"]] {
        let (code, out, err) = end(at, args);
        assert_eq!((code, err.as_str()), (0, ""), "{args:?}");
        assert!(out.len() > 200, "{args:?}");
    }
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let (code, out, _) = end(at, &["completions", shell]);
        assert!(code == 0 && out.contains("simctl"), "{shell}");
    }
    let (code, out, _) = end(at, &["--version"]);
    assert_eq!((code, out.trim()), (0, concat!("simctl ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn a_closed_pipe_is_no_failure_and_a_full_one_is() {
    let folder = folder();
    for args in
        [&["schema"][..], &["catalog"], &["explain", "language"], &[&SHORT[..], &["--quiet", "--json"]].concat()]
    {
        let mut child =
            simctl(folder.path(), args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        // The reader goes after one byte.
        let mut first = [0];
        let mut pipe = child.stdout.take().expect("piped");
        pipe.read_exact(&mut first).expect("one byte");
        drop(pipe);
        let ended = child.wait_with_output().expect("ends");
        assert_eq!(ended.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&ended.stderr));
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
    }
    if let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") {
        let ended = simctl(folder.path(), &["schema"]).stdout(full).stderr(Stdio::piped()).spawn().expect("starts");
        let ended = ended.wait_with_output().expect("ends");
        assert_eq!(ended.status.code(), Some(3));
        assert!(String::from_utf8_lossy(&ended.stderr).contains("cannot write to standard output"));
    }
}

#[test]
fn the_environment_stands_in_for_flags() {
    let folder = folder();
    let (code, _, err) = end(folder.path(), &["run", "spike.toml", "--variant", "no-such"]);
    let by_env =
        simctl(folder.path(), &["run", "spike.toml"]).env("SIMCTL_VARIANT", "no-such").output().expect("starts");
    assert_eq!(by_env.status.code(), Some(code));
    assert_eq!(String::from_utf8_lossy(&by_env.stderr), err);
    let colored = simctl(folder.path(), &["run", "nope.toml"]).env("SIMCTL_COLOR", "always").output().expect("starts");
    assert!(String::from_utf8_lossy(&colored.stderr).contains('\u{1b}'));
}

/// Every file below a folder, with its bytes.
fn tree(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for name in names(folder) {
        let path = folder.join(&name);
        if path.is_dir() {
            files.extend(tree(&path).into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        } else {
            files.push((name, std::fs::read(path).expect("file")));
        }
    }
    files
}

/// A short run of the starter.
const SHORT: [&str; 6] =
    ["run", "spike.toml", "--set", "simulation.duration=\"7m\"", "--set", "simulation.interval=\"5s\""];

#[test]
fn a_run_leaves_a_whole_folder_and_equal_seeds_equal_bytes() {
    let folder = folder();
    let at = folder.path();
    let (code, out, err) = end(at, &SHORT);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("spike/base\n") && out.contains("wrote output/spike/base/ (charts/overview.svg"), "{out}");
    assert!(out.lines().all(|l| l.chars().count() <= 110), "{out}");
    let lines: Vec<&str> = err.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("simulating spike/base: 7 min, seed 42"), "{err}");
    let first = tree(&at.join("output/spike/base"));
    let have: Vec<&str> = first.iter().map(|f| f.0.as_str()).collect();
    for name in [
        "charts/overview.png",
        "charts/overview.svg",
        "costs.csv",
        "decisions.csv",
        "decisions.jsonl",
        "deployments.csv",
        "nodes.csv",
        "capacity.csv",
        "plan.toml",
        "replications.csv",
        "services.csv",
        "summary.json",
        "tasks.csv",
    ] {
        assert!(have.contains(&name), "{name} is not among {have:?}");
    }

    let elsewhere = [&SHORT[..], &["--out", "again", "--quiet"]].concat();
    assert_eq!(end(at, &elsewhere), (0, String::new(), String::new()));
    assert!(first == tree(&at.join("again")), "equal plans give equal bytes");
    assert_eq!(end(at, &SHORT).0, 0, "the same plan replaces its result");

    // The plan beside the result is a scenario that gives it again.
    let (code, json, err) = end(at, &["run", "again/plan.toml", "--out", "third", "--json", "--quiet", "--no-charts"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let third: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let summary = std::fs::read_to_string(at.join("again/summary.json")).expect("summary");
    let summary: serde_json::Value = serde_json::from_str(&summary).expect("JSON");
    assert_eq!(third["facts_hash"], summary["facts_hash"]);
    assert_eq!(third["meta"]["plan_hash"], summary["meta"]["plan_hash"]);

    // Another plan does not replace it unasked.
    let other = [&SHORT[..], &["--seed", "7"]].concat();
    let (code, out, err) = end(at, &other);
    assert_eq!((code, out.as_str()), (3, ""), "{err}");
    assert!(err.contains("--force"), "{err}");
    let shown = end(at, &["report", "again", "--check", "--no-charts"]);
    assert!(matches!(shown.0, 0 | 10), "{}", shown.2);
    let missed = summary["objectives"].as_array().expect("objectives").iter().any(|o| o["held"] == false);
    assert_eq!(shown.0 == 10, missed);
    assert_eq!(names(&at.join("output/spike")), ["base"]);
}

#[test]
fn variants_run_into_folders_of_their_own() {
    let folder = folder();
    let at = folder.path();
    let args = [&SHORT[..], &["--variant", "all", "--json", "--quiet", "--no-charts"]].concat();
    let (code, out, err) = end(at, &args);
    assert_eq!((code, err.as_str()), (0, ""));
    let all: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let variants: Vec<&str> =
        all.as_array().expect("several").iter().map(|s| s["meta"]["variant"].as_str().expect("name")).collect();
    assert!(variants.len() > 1 && variants[0] == "base", "{variants:?}");
    let mut sorted: Vec<String> = variants.iter().map(ToString::to_string).collect();
    sorted.sort();
    assert_eq!(names(&at.join("output/spike")), sorted);
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_nothing() {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut command = simctl(folder.path(), &["run", "--example", "day"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut err = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    err.read_line(&mut line).expect("a line at the start");
    assert!(line.starts_with("simulating day/base"), "{line}");
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
    let mut rest = String::new();
    err.read_to_string(&mut rest).expect("the end of it");
    assert_eq!(child.wait().expect("ends").code(), Some(130), "{rest}");
    assert!(rest.starts_with("error: interrupted at "), "{rest}");
    assert!(names(folder.path()).is_empty(), "{:?}", names(folder.path()));
}

#[cfg(unix)]
#[test]
fn a_disk_that_takes_no_more_leaves_nothing() {
    let folder = folder();
    let at = folder.path();
    // A limit on the size of a file fails the writes as a full disk does; the signal that comes with it is ignored.
    let script = format!("trap '' XFSZ; ulimit -f 8; exec {} \"$@\"", env!("CARGO_BIN_EXE_simctl"));
    let args = [&["-c", &script, "sh"][..], &SHORT].concat();
    let ended = Command::new("sh").args(args).current_dir(at).output().expect("sh starts");
    let err = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(3), "{err}");
    assert!(err.contains("error: cannot write ") && err.contains("partial"), "{err}");
    assert_eq!(names(at), ["spike.toml"], "{err}");

    // A small file system, where one may be mounted.
    let disk = at.join("disk");
    std::fs::create_dir(&disk).expect("folder");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
        .arg(&disk)
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    if mounted {
        let (code, _, err) = end(at, &[&SHORT[..], &["--out", "disk/result"]].concat());
        let left = names(&disk);
        let unmounted = Command::new("umount").arg(&disk).status().expect("umount");
        assert!(unmounted.success());
        assert_eq!(code, 3, "{err}");
        assert!(err.contains("No space left on device"), "{err}");
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn what_cannot_be_is_refused_and_what_turns_out_so_is_named() {
    let folder = folder();
    let at = folder.path();
    // By arithmetic, before anything runs.
    let (code, out, err) = end(at, &["run", "spike.toml", "--set", "objectives.web.latency_p99=\"<= 1ns\""]);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("cannot be met") && err.contains("so it was not run"), "{err}");

    // A trace that goes back in time: the line of it, and where the scenario names it.
    std::fs::write(at.join("back.csv"), "time_s,requests\n0,10\n60,20\n30,5\n").expect("file");
    let traced = ["run", "spike.toml", "--set", "services.web.traffic={ trace = { file = \"back.csv\" } }"];
    let (code, _, err) = end(at, &traced);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("line 4: time goes back: 30 after 60"), "{err}");
    assert_eq!(names(at), ["back.csv", "spike.toml"]);

    // Only the run shows that a task cannot hold what its requests need: it completes and says so.
    let starving = [&SHORT[..], &["--set", "services.web.requests.page.memory=\"1 GB\"", "--no-charts"]].concat();
    let (code, out, err) = end(at, &starving);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("! out of memory, web:") && out.contains("because tasks ran out of memory"), "{out}");
    let (code, _, err) = end(at, &[&starving[..], &["--check", "--quiet"]].concat());
    assert_eq!((code, err.as_str()), (10, ""));
}

#[test]
fn absurd_amounts_are_refused_by_name() {
    let folder = folder();
    for (set, words) in [
        ("simulation.duration=1e300", "too many digits"),
        ("simulation.duration=\"1000000000000d\"", "at most 584 years"),
        ("simulation.interval=\"1ns\"", "50 million recorded intervals"),
        ("services.web.traffic.rate=[{ at = \"0s\", rps = 1e12 }]", "at most 10000000"),
        ("services.web.traffic.rate=[{ at = \"0s\", rps = 1e300 }]", "at most 10000000"),
        ("services.web.desired_count=1000000000", "0 to 5000"),
        ("services.web.client.retries=4000000000", "0 to 1000"),
        ("services.web.task.memory=\"1 TB\"", "Fargate has no task size"),
        ("services.web.scaling.policies.cpu60.target_value=1e300", "never goes above 100 %"),
        ("services.web.requests.page.cpu_time=nan", "not a finite number"),
        ("cluster.zones=1000000000", "from 1 to 6"),
    ] {
        let (code, out, err) = end(folder.path(), &["run", "spike.toml", "--set", set]);
        assert_eq!((code, out.as_str()), (2, ""), "{set}: {err}");
        assert!(err.contains(words) && err.lines().count() < 30, "{set}: {err}");
    }
    assert_eq!(names(folder.path()), ["spike.toml"]);
}

// ---- Many runs

/// A short run of the starter, many times.
fn many<'a>(command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&[command, "spike.toml", "--set", "simulation.duration=7m", "--no-charts"], more].concat()
}

#[test]
fn what_is_wrong_with_a_sweep_is_told_in_one_message() {
    let folder = folder();
    let at = folder.path();
    const TARGET: &str = "services.web.scaling.policies.cpu60.target_value";
    let (open, twice) = (format!("{TARGET}=50..70"), format!("{TARGET}=50,60"));
    let (a, b) = (format!("{TARGET}=1..90:10000"), "services.web.scaling.max_capacity=10..5000:4991".to_owned());
    for (args, words) in [
        (&["--vary", "services.web.task.cpus=256,512"][..], "the nearest address"),
        (&["--vary", "services.wep.task.cpu=256,512"], "no such key in `services`"),
        (&["--vary", "services.web.task.cpu=256,lots"], "`lots` does not start with a number"),
        (&["--vary", "services.web.desired_count=2,true"], "takes a whole number"),
        (&["--vary", "services.web.task.cpu="], "there are no values"),
        (&["--vary", "services.web.task.cpu=512,,1024"], "a value is missing"),
        (&["--vary", "services.web.task.cpu"], "address=values"),
        (&["--vary", "services.web.desired_count=9..3:4"], "the range is empty"),
        (&["--vary", "services.web.desired_count=3..9:1"], "a range has 2 to"),
        (&["--vary", &open], "how many values"),
        (&["--vary", &twice, "--vary", &twice], "stands there twice"),
        (&["--vary", &a, "--vary", &b], "more than 1000000 runs"),
        (&["--vary", &twice, "--replications", "0"], "0 is not in 1..=1000000"),
        (&["--vary", &twice, "--jobs", "0"], "0 is not in 1..=1024"),
        (&["--vary", &twice, "--hold", "1.5"], "above 0 and at most 1"),
        (&["--vary", &twice, "--sample", "sobol:1"], "expected lhs:N or sobol:N"),
        (&["--vary", &twice, "--variant", "all"], "a sweep is of one variant"),
        (&["--vary", "services.web.scaling.max_capacity=1,2"], "`min_capacity` is above `max_capacity`"),
        (&["--vary", "objectives.web.latency_p99=<= 1 ms,<= 2 ms"], "no point can meet its objectives"),
    ] {
        let (code, out, err) = end(at, &many("sweep", args));
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
        assert!(err.contains(words) && err.matches("error").count() <= 2, "{args:?}: {err}");
        assert!(!err.contains("--set:1") || words.contains("capacity"), "it stands in --vary: {err}");
    }
    assert_eq!(names(at), ["spike.toml"]);
    // A point that cannot run costs no other.
    let some = ["--vary", "services.web.scaling.max_capacity=1,20", "-n", "1"];
    let (code, _, err) = end(at, &many("sweep", &some));
    assert_eq!(code, 20, "{err}");
    let json = std::fs::read_to_string(at.join("output/spike/sweep/sweep.json")).expect("document");
    assert!(json.contains("1 of 2 points cannot run, for example because `min_capacity` is above"), "{json}");
    let table = std::fs::read_to_string(at.join("output/spike/sweep/sweep.csv")).expect("rows");
    let status: Vec<&str> = table.lines().skip(1).map(|l| l.split(',').nth(4).expect("a status")).collect();
    assert_eq!(status, ["invalid", "ok"], "{table}");
}

#[test]
fn what_is_wrong_with_a_search_is_told_in_one_message() {
    let folder = folder();
    let at = folder.path();
    let starter = std::fs::read_to_string(at.join("spike.toml")).expect("starter");
    let space = "[search.space]\n\"services.web.desired_count\" = ";
    for (text, args, words) in [
        ("", &[][..], "the search space is empty"),
        ("[search.space]\n", &[], "the search space is empty"),
        (&format!("{space}[]\n"), &[], "there are no values"),
        (&format!("{space}[4, 4]\n"), &[], "`4` stands here twice"),
        (&format!("{space}[4, \"x\"]\n"), &[], "[search.space]:1:28"),
        (&format!("{space}\"9..4:3\"\n"), &[], "the range is empty"),
        (&format!("{space}\"4..9\"\n"), &[], "how many values"),
        ("[search.space]\n\"services.web.desired_counts\" = [4]\n", &[], "the nearest address"),
        (&format!("[search]\nholt = 0.9\n{space}[4]\n"), &[], "unknown key `holt`"),
        (&format!("[search]\nhold = 1.5\n{space}[4]\n"), &[], "`search.hold` is above 0 and below 1"),
        (&format!("[search]\nconfidence = 0.2\n{space}[4]\n"), &[], "`search.confidence` is above 0.5"),
        (&format!("[search]\nreplications = 1\n{space}[4]\n"), &[], "`search.replications` is between"),
        (&format!("[search]\nminimise = \"cots\"\n{space}[4]\n"), &[], "the nearest is `cost`"),
        (&format!("{space}[4]\n"), &["--hold", "1"], "no number of replications can show"),
        (&format!("{space}[4]\n"), &["-n", "10"], "29 are needed"),
        (
            &format!("{space}\"1..4000:4000\"\n"),
            &["--vary", "services.web.scaling.max_capacity=5..4000:3996"],
            "more than 100000",
        ),
    ] {
        std::fs::write(at.join("spike.toml"), format!("{starter}\n{text}")).expect("file");
        let (code, out, err) = end(at, &many("search", args));
        assert_eq!((code, out.as_str()), (2, ""), "{text}: {err}");
        assert!(err.contains(words) && err.matches("error").count() <= 2, "{text}: {err}");
    }
    assert_eq!(names(at), ["spike.toml"]);
}

#[test]
fn what_does_not_fit_together_is_not_compared() {
    let folder = folder();
    let at = folder.path();
    let starter = std::fs::read_to_string(at.join("spike.toml")).expect("starter");
    let seed = starter.lines().find(|l| l.starts_with("seed")).expect("a seed").to_owned();
    std::fs::write(at.join("seeded.toml"), starter.replace(&seed, "seed = 7")).expect("file");
    let length = starter.lines().find(|l| l.starts_with("duration")).expect("a duration").to_owned();
    std::fs::write(at.join("longer.toml"), starter.replace(&length, "duration = \"50m\"")).expect("file");
    for (args, words) in [
        (&["compare", "spike.toml", "--variant", "base"][..], "has no variants to compare"),
        (&["compare", "spike.toml", "--reference", "quik"], "the nearest is `quick`"),
        (&["compare", "spike.toml", "seeded.toml"], "differ in their seed"),
        (&["compare", "spike.toml", "longer.toml"], "differ in their duration"),
        (&["compare", "spike.toml", "--until", "latency_p98=5ms"], "there is no figure `latency_p98`; the nearest"),
        (&["compare", "spike.toml", "--until", "p99=5gb"], "expected an amount above 0 in ms"),
        (&["compare", "spike.toml", "--until", "p99"], "expected FIGURE=AMOUNT"),
        (&["compare", "spike.toml", "--until", "cost=1"], "cost_per_hour=AMOUNT"),
        (&["compare", "spike.toml", "--margin", "cots=5"], "the nearest is `cost`"),
        (&["compare", "spike.toml", "--margin", "p99=5%"], "in the unit of the figure"),
        (&["compare", "spike.toml", "--margin", "cost=1"], "cost_per_hour=AMOUNT"),
        (&["compare", "spike.toml", "-n", "0"], "0 is not in"),
        (&["run", "spike.toml", "--until", "p99=0ms"], "above 0"),
        (&["run", "spike.toml", "--replication", "1", "-n", "5"], "cannot be used with"),
    ] {
        let (code, out, err) = end(at, args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
        assert!(err.contains(words), "{args:?}: {err}");
    }
    assert_eq!(names(at), ["longer.toml", "seeded.toml", "spike.toml"]);
    // The remedies that are named help.
    let remedy =
        ["compare", "spike.toml", "longer.toml", "--set", "simulation.duration=7m", "-n", "2", "--no-charts", "-q"];
    assert_eq!(end(at, &remedy), (0, String::new(), String::new()));
    let remedy = [&remedy[..2], &["seeded.toml", "--unpaired", "--out", "apart"], &remedy[3..]].concat();
    assert_eq!(end(at, &remedy), (0, String::new(), String::new()));
}

#[test]
fn studies_end_with_their_code_and_their_document() {
    let folder = folder();
    let at = folder.path();
    let missed = ["--set", "objectives.cluster.cost_per_hour=<= $0.01", "-n", "5", "--check", "--quiet"];
    for (command, format) in [("run", "json"), ("run", "markdown"), ("compare", "json"), ("compare", "markdown")] {
        let out = format!("{command}-{format}");
        let (code, text, err) = end(at, &many(command, &[&missed[..], &["--format", format, "--out", &out]].concat()));
        assert_eq!(code, 10, "{command}: {err}");
        match format {
            "json" => drop(serde_json::from_str::<serde_json::Value>(&text).expect("JSON")),
            _ => assert!(text.contains('|') && text.lines().count() < 40, "{text}"),
        }
        assert!(err.lines().all(|l| l.starts_with("error: quick: ")), "{err}");
    }
    // The same without the gate.
    let (code, ..) = end(at, &many("compare", &[&missed[..4], &["--quiet", "--out", "open"]].concat()));
    assert_eq!(code, 0);
    // A precision that cannot be had.
    let never = ["--until", "mean=0.00001%", "--max-replications", "10", "--out", "never"];
    let (code, _, err) = end(at, &many("compare", &[&never[..], &["--unpaired"]].concat()));
    assert_eq!(code, 11, "{err}");
    assert!(err.contains("web.latency_mean_ms is not as precise as was asked for after 10 replications"), "{err}");
    assert!(!err.contains("inf"), "{err}");
    let (code, _, err) = end(at, &many("run", &never));
    assert_eq!(code, 3, "another result stands there: {err}");
    // Another study does not replace it unasked, the same does.
    let (code, _, err) =
        end(at, &many("compare", &["-n", "5", "--out", "open", "--variant", "quick", "--variant", "base"]));
    assert!(code == 3 && err.contains("--force"), "{code}: {err}");
    let (code, _, err) = end(at, &many("compare", &[&missed[..4], &["--quiet", "--out", "open", "--resume"]].concat()));
    assert_eq!(code, 0, "{err}");
}

#[test]
fn a_replication_does_not_replace_another() {
    let folder = folder();
    let at = folder.path();
    let one = |k: &str, more: &[&str]| {
        end(at, &many("run", &[&["--quiet", "--out", "one", "--replication", k], more].concat()))
    };
    assert_eq!(one("3", &[]).0, 0);
    assert_eq!(one("3", &[]).0, 0, "its own result is replaced");
    let (code, _, err) = one("4", &[]);
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("holds replication 3 of this plan, this is replication 4; --force replaces it"), "{err}");
    let (code, _, err) = end(at, &many("run", &["--quiet", "--out", "one"]));
    assert!(code == 3 && err.contains("this is replication 0"), "{err}");
    assert_eq!(one("4", &["--force"]).0, 0);
    assert_eq!(end(at, &many("run", &["--quiet", "--replication", "2"])).0, 0);
    assert_eq!(names(&at.join("output/spike")), ["base-replication-2"]);
}

#[test]
fn runs_survive_a_store_or_a_folder_that_cannot_be_written() {
    let folder = folder();
    let at = folder.path();
    std::fs::write(at.join("file"), "").expect("file");
    // Without a store there is still a result.
    let (code, out, err) = end(at, &many("compare", &["-n", "2", "--store", "file/store", "--out", "result"]));
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("finished runs are not kept, so that this cannot be resumed: cannot create"), "{err}");
    assert!(out.contains("wrote result/") && at.join("result/comparison.json").exists(), "{out}");
    // Without a place for the result nothing is run.
    let (code, _, err) = end(at, &many("compare", &["-n", "2", "--out", "file/result"]));
    assert!(code == 3 && err.lines().count() == 1 && !at.join("output").exists(), "{err}");

    // A small file system, where one may be mounted: full before the end of the runs.
    let disk = at.join("disk");
    std::fs::create_dir(&disk).expect("folder");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=128k", "tmpfs"])
        .arg(&disk)
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    if mounted {
        let full = ["-n", "30", "--store", "disk/store", "--out", "kept"];
        let store = end(at, &many("compare", &full));
        let whole = names(&disk.join("store"));
        let place = end(at, &many("compare", &["-n", "5", "--out", "disk/result", "--force"]));
        let left = names(&disk);
        let unmounted = Command::new("umount").arg(&disk).status().expect("umount");
        assert!(unmounted.success());
        assert!(store.0 == 3 && store.2.contains("No space left on device"), "{}", store.2);
        assert!(at.join("kept/comparison.json").exists() && whole.iter().all(|n| n.ends_with(".json")), "{whole:?}");
        assert!(place.0 == 3 && place.2.contains("No space left on device"), "{}", place.2);
        assert!(place.2.contains("the finished runs are kept in output/spike/.runs"), "{}", place.2);
        assert_eq!(left, ["store"]);
    }
}

#[test]
fn the_printed_command_repeats_a_run() {
    let folder = folder();
    let at = folder.path();
    // The command of a point with everything that a shell would take for its own.
    let set = "objectives.web.latency_p99=<= 0.9 s";
    let (code, _, err) = end(at, &many("run", &["--set", set, "--replication", "2", "--quiet", "--out", "by-hand"]));
    assert_eq!(code, 0, "{err}");
    let sweep = many("sweep", &["--set", set, "--vary", "services.web.task.cpu=1024", "-n", "3", "--quiet"]);
    assert_eq!(end(at, &sweep).0, 0);
    let summary = |folder: &str| -> serde_json::Value {
        let text = std::fs::read_to_string(at.join(folder).join("summary.json")).expect("summary");
        serde_json::from_str(&text).expect("JSON")
    };
    let id = summary("by-hand")["meta"]["run_id"].as_str().expect("an id").to_owned();
    let table = std::fs::read_to_string(at.join("output/spike/sweep/sweep.csv")).expect("rows");
    assert!(table.lines().nth(3).expect("replication 2").contains(&id), "{table}");
}
