//! A programmable HTTP reverse proxy: implement the phases of ProxyHttp, the rest is done.
