def write(data, folder):
    return data
