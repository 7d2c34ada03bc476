"""The console in a browser, the bytes of videos, and the Videos dialect: plain HTTP over the contract."""
