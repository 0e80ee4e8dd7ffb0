# Also where no login through PAM has set the limits of /etc/security/limits.d.
ulimit -c 0
