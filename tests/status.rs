//! Goal: who asks the daemon is told what it says, as it is or so that a person can read it.

use crate::common::asking::*;

#[test]
fn the_whole_is_one_table() {
    let out = Fake::says(OVERVIEW).prints(&["status"], "status\n");
    assert_eq!(out, TABLE);
    assert!(out.lines().all(|line| line.len() <= 80));
}

#[test]
fn json_passes_through_as_it_is() {
    for (words, line) in [
        (["status", "--json"].as_slice(), "status\n"),
        (&["status", "--json", "--ports"], "status ports\n"),
        (&["status", "--json", "192.0.2.7"], "status 192.0.2.7\n"),
    ] {
        assert_eq!(Fake::says(OVERVIEW).prints(words, line), OVERVIEW);
    }
}

#[test]
fn an_idle_daemon_says_so_in_few_lines() {
    let answer = r#"{"version":"0.1.0",
"since":1794000000,
"now":1794000000,
"clock":"right",
"mirages":[
{"mirage":"home","name":"home","gate":"port","door":"forward","forward":"127.0.0.1:22","listen":"ports","range":"10000-10999","period":60,"minute":29900000,"open":0}
],
"sessions":[
],
"bans":[
],
"counters":{"accepted":0,"banned":0,"refused":0,"held":0,"good_tokens":0,"bad_tokens":0,"turned_away":0},
"places":[
{"of":"sessions","taken":0,"places":1024,"full":false}
]}
"#;
    let out = Fake::says(answer).prints(&["status"], "status\n");
    let expected = "\
shimmer 0.1.0, up 0s

MIRAGE  GATE  RANGE        LISTEN  OPEN  TURNS IN  LEADS TO
home    port  10000-10999  ports      0        1m  127.0.0.1:22

sessions: 0

bans: 0

since the start  nothing has happened yet
in use           0 of 1024 sessions
";
    assert_eq!(out, expected);
}

#[test]
fn what_is_wrong_stands_on_top() {
    let mut answer = OVERVIEW.replace("\"clock\":\"right\"", "\"clock\":\"waiting\"");
    for (taken, places) in [(1, 1024), (0, 256), (2, 4096), (3, 4096)] {
        answer = answer.replace(
            &format!("\"taken\":{taken},\"places\":{places},\"full\":false"),
            &format!("\"taken\":{places},\"places\":{places},\"full\":true"),
        );
    }
    let rules = |rules| format!("\"door\":\"nft\",\"rules\":\"{rules}\"");
    let gone = rules("inet shimmer web4: the rules that use it are not there");
    answer = answer.replacen("\"door\":\"forward\"", &rules("loaded"), 1);
    answer = answer.replacen("\"door\":\"forward\"", &gone, 1);
    let out = Fake::says(answer).prints(&["status"], "status\n");
    let expected = "\
shimmer 0.1.0, up 2m3s
CLOCK: not trusted yet; no port opens until it is
FULL: 1024 of 1024 sessions: nobody else gets in
FULL: 256 of 256 traps: new visitors replace the oldest
FULL: 4096 of 4096 bans: new bans replace the oldest
FULL: 4096 of 4096 tokens of home: nobody gets in until one expires
RULES: web: inet shimmer web4: the rules that use it are not there
RULES: to load them: shimmer firewall | nft -f -

MIRAGE  GATE   RANGE        LISTEN  OPEN  TURNS IN  LEADS TO
home    token  10000-10999  ports     48         -  127.0.0.1:22
";
    assert!(out.starts_with(expected), "{out}");
    assert!(out.lines().all(|line| line.len() <= 80));
}

#[test]
fn of_many_the_latest_are_shown_and_the_rest_counted() {
    let (head, rest) = OVERVIEW.split_once("\"sessions\":[\n").unwrap();
    let (_, tail) = rest.split_once("],\n\"counters\"").unwrap();
    let mut rows = Vec::new();
    for number in 0..4_081 {
        // 7 has no factor in common with 4,081's next power of two: each comes once, in disorder.
        let seconds = number * 7 % 4_096;
        rows.push(format!(
            "{{\"source\":\"10.0.{}.{}\",\"seconds\":{seconds},\"why\":\"hand\",\"attempts\":1}}",
            seconds / 256,
            seconds % 256
        ));
    }
    let rows = rows.join(",\n");
    let answer = format!("{head}\"sessions\":[\n],\n\"bans\":[\n{rows}\n],\n\"counters\"{tail}");
    let out = Fake::says(answer).prints(&["status"], "status\n");
    let mut lines = out
        .lines()
        .skip_while(|line| !line.starts_with("bans: 4081"));
    let seconds: Vec<u32> = (0..4_081).map(|number| number * 7 % 4_096).collect();
    let mut sorted = seconds;
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    lines.next();
    assert_eq!(
        lines.next().unwrap(),
        "SOURCE       WHY      ATTEMPTS  ENDS IN"
    );
    for seconds in &sorted[..10] {
        let line = lines.next().unwrap();
        let source = format!("10.0.{}.{} ", seconds / 256, seconds % 256);
        assert!(line.starts_with(&source), "{line}: {source}");
        assert!(line.contains("  by hand         1 "), "{line}");
        assert!(
            line.ends_with("  1h8m") || line.ends_with("  1h7m"),
            "{line}"
        );
    }
    let more = "… and 4071 more (shimmer status --json shows all)";
    assert_eq!(lines.next(), Some(more));
}

#[test]
fn ports_are_shown_with_the_real_ones_apart() {
    let ports: Vec<String> = (0..16)
        .map(|port| (10_017 + port * 20).to_string())
        .collect();
    let with = format!(
        "\"open\":48,\"real\":[10242,10290,10254],\"ports\":[10242,{},10254,10290]",
        ports.join(",")
    );
    let answer = OVERVIEW.replace("\"open\":48", &with);
    let out = Fake::says(answer).prints(&["status", "--ports"], "status ports\n");
    let expected = "
ports of home
real (before, now, next)  10242 10290 10254
open  10242 10017 10037 10057 10077 10097 10117 10137 10157 10177 10197 10217
      10237 10257 10277 10297 10317 10254 10290

sessions: 1
";
    assert!(out.contains(expected), "{out}");
}

#[test]
fn a_daemon_of_another_version_may_say_less_or_more() {
    let answer = "{\"version\":\"9\",\n\"weather\":\"fine\",\n\"mirages\":[\n{\"mirage\":\"home\",\"door\":\"tarpit\"}\n],\n\
        \"counters\":{\"cakes_eaten\":2},\n\"places\":[\n{\"of\":\"cakes\",\"taken\":2,\"places\":2,\"full\":true}\n]}\n";
    let out = Fake::says(answer).prints(&["status"], "status\n");
    for line in [
        "shimmer 9, up 0s",
        "FULL: 2 of 2 cakes: cakes",
        "since the start  2 cakes eaten",
    ] {
        assert!(out.lines().any(|found| found == line), "{out}");
    }
    assert!(
        out.lines()
            .any(|line| line.starts_with("home") && line.ends_with("tarpit")),
        "{out}"
    );
}

/// What a person is told of an address: the ban's row if there is one, and the mirages' rows.
#[track_caller]
fn told(address: &str, sessions: u32, ban: &str, mirages: &[&str]) -> String {
    let (ban, mirages) = (ban.to_owned(), mirages.join(",\n"));
    let end = if ban.is_empty() { "" } else { "\n" };
    let answer = format!(
        "{{\"source\":\"{address}\",\"sessions\":{sessions},\n\"bans\":[\n{ban}{end}],\n\"mirages\":[\n{mirages}\n]}}\n"
    );
    Fake::says(answer).prints(&["status", address], &format!("status {address}\n"))
}

#[test]
fn a_banned_address_is_told_why_and_what_to_do() {
    let ban = r#"{"source":"192.0.2.7","seconds":812,"why":"trap","attempts":3}"#;
    let mirage =
        r#"{"mirage":"home","gate":"port","right":"refuse","wrong":"refuse","why":"banned"}"#;
    let expected = "\
192.0.2.7 is banned for 13m32s more: it touched a trap, 3 attempts in all. It
has no sessions.

home: whatever it does, it is turned away: it is banned.

To let it try again at once: shimmer unban 192.0.2.7
";
    assert_eq!(told("192.0.2.7", 0, ban, &[mirage]), expected);
}

#[test]
fn a_token_counts_more_than_a_ban_and_is_told_to() {
    let ban = r#"{"source":"2001:db8::/64","seconds":900,"why":"hand","attempts":1}"#;
    let mirage = r#"{"mirage":"home","gate":"token","right":"admit","wrong":"ban","why":"banned"}"#;
    let expected = "\
2001:db8::/64 is banned for 15m more: banned by hand (shimmer ban). It has no
sessions.

home: with a valid token it gets in, without one it is held and banned: it is
      banned, but a valid token lifts the ban.

To let it try again at once: shimmer unban 2001:db8::/64
";
    assert_eq!(told("2001:db8::/64", 0, ban, &[mirage]), expected);
}

#[test]
fn a_stranger_is_told_what_each_mirage_would_do() {
    let expected = "\
192.0.2.8 is not banned. It has 2 sessions.

home: at the real port it gets in, at any other it is held and banned.
web: with a valid token it gets in, without one it is held, but not banned: it
     has a session, so a touch is forgiven.
lan: whatever it does, it is held and banned: the mirage's `from` does not cover
     it.
nas: at the real port it gets in, at any other it is held, but not banned:
     `allow` covers it.
tv: at the real port it gets in, at any other it is held, but not banned: the
    clock was set a moment ago.

If it can't get in anywhere, compare clock, secret, name, range, period and
gate on both sides.
";
    let mirages = [
        r#"{"mirage":"home","gate":"port","right":"admit","wrong":"ban","why":"stranger"}"#,
        r#"{"mirage":"web","gate":"token","right":"admit","wrong":"hold","why":"session"}"#,
        r#"{"mirage":"lan","gate":"port","right":"ban","wrong":"ban","why":"from"}"#,
        r#"{"mirage":"nas","gate":"port","right":"admit","wrong":"hold","why":"allow"}"#,
        r#"{"mirage":"tv","gate":"port","right":"admit","wrong":"hold","why":"clock"}"#,
    ];
    assert_eq!(told("192.0.2.8", 2, "", &mirages), expected);
}

#[test]
fn a_ban_is_told_with_its_time() {
    let answer = "{\"ok\":\"banned\",\"source\":\"2001:db8:1:2::/64\",\"seconds\":900}\n";
    let fake = Fake::says(answer);
    let out = fake.prints(&["ban", "2001:db8:1:2::7"], "ban 2001:db8:1:2::7\n");
    assert_eq!(out, "2001:db8:1:2::/64 is banned for 15m\n");
}

#[test]
fn an_unban_tells_whether_there_was_one() {
    let answer = |count: u32| Fake::says(format!("{{\"ok\":\"unbanned\",\"count\":{count}}}\n"));
    let one = ["unban", "2001:db8:1:2::7"];
    let line = "unban 2001:db8:1:2::7\n";
    assert_eq!(
        answer(1).prints(&one, line),
        "2001:db8:1:2::/64 is no longer banned\n"
    );
    assert_eq!(
        answer(0).fails(&one, line),
        "shimmer: 2001:db8:1:2::/64 was not banned"
    );
    for (count, out) in [
        (0, "nobody was banned\n"),
        (1, "the only ban is lifted\n"),
        (4_096, "all 4096 bans are lifted\n"),
    ] {
        assert_eq!(answer(count).prints(&["unban", "all"], "unban all\n"), out);
    }
}

#[test]
fn the_daemons_errors_are_passed_on() {
    for words in [["ban", "192.0.2.7"].as_slice(), &["status", "--json"]] {
        let fake = Fake::says("{\"error\":\"192.0.2.7 is in allow\"}\n");
        let path = fake.path();
        let outcome = shimmer(words, &["--control".as_ref(), &path]);
        assert_eq!(outcome.complaint(1), "shimmer: 192.0.2.7 is in allow");
    }
}

/// Behind silent gates, and for whom something is open.
const SILENT: &str = r#"{"version":"0.1.0",
"since":1794000000,
"now":1794000123,
"clock":"right",
"mirages":[
{"mirage":"home","name":"home","gate":"packet","door":"forward","forward":"127.0.0.1:22","range":"10000-10999","period":60,"minute":29900002,"open":3},
{"mirage":"winbox","name":"winbox","gate":"knock","door":"command"},
{"mirage":"set","name":"set","gate":"token","door":"nft","listen":"ports","range":"11000-11999","period":60,"minute":29900002,"open":47},
{"mirage":"sshd","name":"sshd","gate":"knock","door":"forward","forward":"exec","range":"12000-12999","period":60,"minute":29900002,"open":0}
],
"sessions":[
],
"doors":[
{"source":"192.0.2.7","mirage":"home","seconds":30},
{"source":"2001:db8:1234:5678:9abc:def0:1234:5678","mirage":"home","seconds":12},
{"source":"service","mirage":"sshd","seconds":3600},
{"source":"192.0.2.9","mirage":"winbox","seconds":600}
],
"bans":[
],
"counters":{"visitors":0,"accepted":0,"passed":3},
"places":[
{"of":"sessions","taken":0,"places":1024,"full":false}
]}
"#;

/// The same, for a person.
const SILENT_TABLE: &str = "\
shimmer 0.1.0, up 2m3s

MIRAGE  GATE    RANGE        LISTEN  OPEN  TURNS IN  LEADS TO
home    packet  10000-10999  -          3       57s  127.0.0.1:22
winbox  knock   -            -          -         -  command
set     token   11000-11999  ports     47       57s  nft
sshd    knock   12000-12999  -          0       57s  exec

sessions: 0

doors: 4
SOURCE                                  MIRAGE  FOR
service                                 sshd     1h
192.0.2.9                               winbox  10m
192.0.2.7                               home    30s
2001:db8:1234:5678:9abc:def0:1234:5678  home    12s

bans: 0

since the start  3 passed
in use           0 of 1024 sessions
";

#[test]
fn doors_that_are_open_have_a_list_and_silent_mirages_a_row() {
    let out = Fake::says(SILENT).prints(&["status"], "status\n");
    assert_eq!(out, SILENT_TABLE);
    assert!(out.lines().all(|line| line.len() <= 80));
}
