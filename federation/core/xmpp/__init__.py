"""The law of XMPP: addresses, XML, stanzas, streams and logins. Pure; bytes in, bytes out.

Sources: https://www.rfc-editor.org/rfc/rfc6120, https://www.rfc-editor.org/rfc/rfc7622
"""
