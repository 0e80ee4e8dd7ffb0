# Not exported: in bash it is also how long `read` waits, in every script. Set only once, though a shell may read this
# file again.
if [ "${TMOUT:-}" != {{ settings.idle_logout }} ]; then
    TMOUT={{ settings.idle_logout }}
fi
readonly TMOUT
