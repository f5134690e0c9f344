//! Words that make no sense of a host.

use snapbox::{assert_data_eq, str};

use crate::support::World;

#[test]
fn every_wrong_word_is_refused_before_anything_is_made() {
    let world = World::new();
    let mut told = String::new();
    for rest in [
        &[][..],
        &["-o", "host="],
        &["-o", "host=-oProxyCommand=id"],
        &["-o", "host=me@web"],
        &["-o", "host=web", "-o", "user=-l"],
        &["-o", "host=web", "-o", "port=0"],
        &["-o", "host=web", "-o", "port=ssh"],
        &["-o", "host=web", "-o", "key=/nowhere"],
        &["-o", "host=web", "-o", "jump=a b"],
        &["-o", "host=web", "-o", "host-key=SHA256:short"],
        &["-o", "host=web", "-o", "install-key=yes"],
        &["-o", "host=web", "-o", "hots=web"],
        &["-o", "host=web", "--cpus", "2"],
        &["-o", "host=web", "--memory", "2G"],
        &["-o", "host=web", "--disk", "20G"],
        &["-o", "host=web", "--image", "debian-13"],
    ] {
        let mut args = vec!["create", "h1", "-d", "ssh"];
        args.extend(rest);
        let ran = world.berth(&args);
        told += &format!("{}: {}", rest.join(" "), ran.told());
        assert_eq!(ran.code, 2, "{ran:?}");
    }
    for rest in [&["h1"][..], &["h1", "--accept", "SHA256:x"]] {
        let mut args = vec!["host-key"];
        args.extend(rest);
        told += &format!("{}: {}", args.join(" "), world.berth(&args).told());
    }
    assert_data_eq!(
        told,
        str![[r#"
: exit 2
berth: machine h1: host=: say which host: -o host=HOST
-o host=: exit 2
berth: machine h1: host=: say which host: -o host=HOST
-o host=-oProxyCommand=id: exit 2
berth: machine h1: host=-oProxyCommand=id: is not a host name or an address
-o host=me@web: exit 2
berth: machine h1: host=me@web: the user goes into -o user=USER
-o host=web -o user=-l: exit 2
berth: machine h1: user=-l: is not a user's name
-o host=web -o port=0: exit 2
berth: machine h1: port=0: is not a port between 1 and PORT
-o host=web -o port=ssh: exit 2
berth: machine h1: port=ssh: is not a whole number
-o host=web -o key=/nowhere: exit 2
berth: machine h1: key=/nowhere: there is no such file
-o host=web -o jump=a b: exit 2
berth: machine h1: jump=a b: is not [USER@]HOST[:PORT], or several with commas
-o host=web -o host-key=SHA256:short: exit 2
berth: machine h1: host-key=SHA256:short: is neither a public key (ssh-ed25519 AAAA…) nor a fingerprint (SHA256:…)
-o host=web -o install-key=yes: exit 2
berth: machine h1: install-key=yes: is neither true nor false
-o host=web -o hots=web: exit 2
berth: machine h1: the ssh driver has no option "hots"
hint: did you mean host?
-o host=web --cpus 2: exit 2
berth: --cpus: the ssh driver adopts hosts that run already, as they are
-o host=web --memory 2G: exit 2
berth: --memory: the ssh driver adopts hosts that run already, as they are
-o host=web --disk 20G: exit 2
berth: --disk: the ssh driver adopts hosts that run already, as they are
-o host=web --image debian-13: exit 2
berth: --image: the ssh driver adopts hosts that run already, as they are
host-key h1: exit 3
berth: there is no machine h1
hint: there are no machines yet: `berth up` makes one
host-key h1 --accept SHA256:x: exit 2
error: invalid value 'SHA256:x' for '--accept <FINGERPRINT>': write it as SHA256:…, as ssh-keygen -l prints it

For more information, try '--help'.

"#]]
    );
}
