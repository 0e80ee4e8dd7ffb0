# Logins.
export http_proxy={{ settings.proxy }} https_proxy={{ settings.proxy }} no_proxy={{ settings.no_proxy | join(",") }}
export HTTP_PROXY=$http_proxy HTTPS_PROXY=$https_proxy NO_PROXY=$no_proxy
