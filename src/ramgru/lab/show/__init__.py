"""Pictures and pages: plain data in, one self-contained HTML file out (extra `report`)."""
