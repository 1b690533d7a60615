"""The flow: what keeps frames in motion for years, and accounts for each of them. `docs/flow.md` explains it.

It knows neither how a frame is encoded nor what a detector makes of it; those are the stages' business.
"""
