//! A version whose dependencies only its own suite can meet, such as one of backports.

use super::install;

/// Shell lines that install the words in `$@`, of which `package` and those of its version end with `$v`.
///
/// apt takes dependencies from the suites that it prefers, and finds none where only the one that the version is from
/// has them. Then it is told to prefer that suite; other packages that are there already are not its business.
pub(super) fn install_script(package: &str) -> String {
    format!(
        "t=; {install} -s install \"$@\" >/dev/null 2>&1 || {{ \
         r=$(apt-cache -q madison {package} | awk -F'|' -v v=\"${{v#=}}\" \
         '{{ gsub(/ /, \"\", $2) }} $2 == v {{ split($3, w, \" \"); sub(\"/.*\", \"\", w[2]); print w[2]; exit }}'); \
         {install} -s -t \"$r\" install \"$@\" >/dev/null 2>&1 && t=$r; }}; \
         n=$#; [ -n \"$t\" ] || n=0; while [ $n -gt 0 ]; do w=$1; n=$((n - 1)); shift; case $w in *=*|*-) ;; \
         *) case $(dpkg-query -W -f='${{db:Status-Status}}' \"$w\" 2>/dev/null) in installed) continue;; esac;; esac; \
         set -- \"$@\" \"$w\"; done; \
         {install} ${{t:+-t \"$t\"}} install \"$@\"",
        install = install(),
    )
}
